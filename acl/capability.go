package acl

import "regexp"

// VariableCapability is a right on variables.
type VariableCapability string

// The variable capabilities. Read implies list.
const (
	VariablesList    VariableCapability = "list"
	VariablesRead    VariableCapability = "read"
	VariablesWrite   VariableCapability = "write"
	VariablesDestroy VariableCapability = "destroy"
)

// NamespaceCapability is a right on the objects of a namespace. The names are
// those of the public API, except NamespaceManage.
type NamespaceCapability string

// The capabilities of the policy word read.
const (
	ListJobs            NamespaceCapability = "list-jobs"
	ParseJob            NamespaceCapability = "parse-job"
	ReadJob             NamespaceCapability = "read-job"
	CSIListVolume       NamespaceCapability = "csi-list-volume"
	CSIReadVolume       NamespaceCapability = "csi-read-volume"
	ReadJobScaling      NamespaceCapability = "read-job-scaling"
	ListScalingPolicies NamespaceCapability = "list-scaling-policies"
	ReadScalingPolicy   NamespaceCapability = "read-scaling-policy"
	HostVolumeRead      NamespaceCapability = "host-volume-read"
)

// What the policy word write adds.
const (
	ScaleJob             NamespaceCapability = "scale-job"
	SubmitJob            NamespaceCapability = "submit-job"
	DispatchJob          NamespaceCapability = "dispatch-job"
	ReadLogs             NamespaceCapability = "read-logs"
	ReadFS               NamespaceCapability = "read-fs"
	AllocExec            NamespaceCapability = "alloc-exec"
	AllocLifecycle       NamespaceCapability = "alloc-lifecycle"
	CSIMountVolume       NamespaceCapability = "csi-mount-volume"
	CSIWriteVolume       NamespaceCapability = "csi-write-volume"
	SubmitRecommendation NamespaceCapability = "submit-recommendation"
	HostVolumeCreate     NamespaceCapability = "host-volume-create"
)

// Capabilities that no policy word grants. NamespaceManage is ours: it lets its
// holder create, change and delete the namespaces that the rule matches.
const (
	HostVolumeRegister NamespaceCapability = "host-volume-register"
	HostVolumeDelete   NamespaceCapability = "host-volume-delete"
	HostVolumeWrite    NamespaceCapability = "host-volume-write"
	AllocNodeExec      NamespaceCapability = "alloc-node-exec"
	SentinelOverride   NamespaceCapability = "sentinel-override"
	CSIRegisterPlugin  NamespaceCapability = "csi-register-plugin"
	NamespaceManage    NamespaceCapability = "manage-namespace"
	// RaiseEvent puts events of workloads into the event stream.
	RaiseEvent NamespaceCapability = "raise-event"
)

// Parts of submit-job, which implies each of them.
const (
	RegisterJob               NamespaceCapability = "register-job"
	RevertJob                 NamespaceCapability = "revert-job"
	DeregisterJob             NamespaceCapability = "deregister-job"
	PurgeJob                  NamespaceCapability = "purge-job"
	EvaluateJob               NamespaceCapability = "evaluate-job"
	PlanJob                   NamespaceCapability = "plan-job"
	TagJobVersion             NamespaceCapability = "tag-job-version"
	StableJob                 NamespaceCapability = "stable-job"
	FailDeployment            NamespaceCapability = "fail-deployment"
	PauseDeployment           NamespaceCapability = "pause-deployment"
	PromoteDeployment         NamespaceCapability = "promote-deployment"
	UnblockDeployment         NamespaceCapability = "unblock-deployment"
	CancelDeployment          NamespaceCapability = "cancel-deployment"
	SetAllocHealthDeployment  NamespaceCapability = "set-alloc-health-deployment"
	GCAllocation              NamespaceCapability = "gc-allocation"
	PauseAllocation           NamespaceCapability = "pause-allocation"
	ForcePeriodicJob          NamespaceCapability = "force-periodic-job"
	DeleteServiceRegistration NamespaceCapability = "delete-service-registration"
)

// NodePoolCapability is a right on node pools.
type NodePoolCapability string

// The node pool capabilities; none implies another, the word write means all.
const (
	NodePoolRead   NodePoolCapability = "read"
	NodePoolWrite  NodePoolCapability = "write"
	NodePoolDelete NodePoolCapability = "delete"
)

// HostVolumeCapability is a right to mount static host volumes.
type HostVolumeCapability string

// The host volume capabilities; the word read means the first, write both.
const (
	HostVolumeMountReadOnly  HostVolumeCapability = "mount-readonly"
	HostVolumeMountReadWrite HostVolumeCapability = "mount-readwrite"
)

// SentinelCapability is a right on Sentinel policies.
type SentinelCapability string

// The Sentinel capabilities; the word read means the first, write all.
const (
	SentinelRead   SentinelCapability = "read"
	SentinelSubmit SentinelCapability = "submit"
	SentinelDelete SentinelCapability = "delete"
)

// Forms of labels, as the public API has them; a path also bars what no
// variable's path can hold.
var (
	namespaceLabel  = &labelRule{regexp.MustCompile(`^[a-zA-Z0-9*-]{1,128}$`), "1 to 128 letters, digits, dashes and *"}
	nodePoolLabel   = &labelRule{regexp.MustCompile(`^[a-zA-Z0-9_*-]{1,128}$`), "1 to 128 letters, digits, dashes, underscores and *"}
	hostVolumeLabel = &labelRule{regexp.MustCompile(`^[a-zA-Z0-9_.*-]{1,128}$`), "1 to 128 letters, digits, dashes, underscores, dots and *"}
	pathLabel       = &labelRule{regexp.MustCompile(`^[a-zA-Z0-9_~*-][a-zA-Z0-9_~/*-]{0,127}$`), "1 to 128 letters, digits and -_~/*, not beginning with a slash"}
)

var (
	readNamespace = []string{"list-jobs", "parse-job", "read-job", "csi-list-volume", "csi-read-volume", "read-job-scaling",
		"list-scaling-policies", "read-scaling-policy", "host-volume-read"}
	writeNamespace = []string{"scale-job", "submit-job", "dispatch-job", "read-logs", "read-fs", "alloc-exec", "alloc-lifecycle",
		"csi-mount-volume", "csi-write-volume", "submit-recommendation", "host-volume-create"}
	scaleNamespace = []string{"list-scaling-policies", "read-scaling-policy", "read-job-scaling", "scale-job", "read-job",
		"submit-recommendation"}
	partsOfSubmit = []string{"register-job", "revert-job", "deregister-job", "purge-job", "evaluate-job", "plan-job", "tag-job-version",
		"stable-job", "fail-deployment", "pause-deployment", "promote-deployment", "unblock-deployment", "cancel-deployment",
		"set-alloc-health-deployment", "gc-allocation", "pause-allocation", "force-periodic-job", "delete-service-registration"}
	onlyExplicit = []string{"host-volume-register", "host-volume-delete", "host-volume-write", "alloc-node-exec", "sentinel-override",
		"csi-register-plugin", "manage-namespace", "raise-event"}
)

func joined(lists ...[]string) []string {
	var out []string
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

var denyLevel = level{Deny, []string{Deny}}

// coarse is the vocabulary of a block that takes policy words only.
func coarse(k Kind) *vocabulary {
	return newVocabulary(table{kind: k, words: []string{"read", "write"},
		levels: []level{denyLevel, {"read", []string{"read"}}, {"write", []string{"read", "write"}}}})
}

var namespaceWords = newVocabulary(table{
	kind: KindNamespace, label: namespaceLabel, listed: true,
	words: joined(readNamespace, writeNamespace, partsOfSubmit, onlyExplicit),
	imply: map[string][]string{
		"submit-job":           partsOfSubmit,
		"host-volume-write":    {"host-volume-register", "host-volume-delete"},
		"host-volume-register": {"host-volume-create"},
		"host-volume-create":   {"host-volume-read"},
	},
	levels: []level{denyLevel, {"read", readNamespace}, {"write", joined(readNamespace, writeNamespace)}, {"scale", scaleNamespace}},
})

var variableWords = newVocabulary(table{
	kind: KindVariables, label: pathLabel, listed: true,
	words: []string{"list", "read", "write", "destroy"},
	imply: map[string][]string{"read": {"list"}},
})

// Bits of the variable capabilities, for the hot path.
var (
	variableList    = variableWords.bit("list")
	variableRead    = variableWords.bit("read")
	variableWrite   = variableWords.bit("write")
	variableDestroy = variableWords.bit("destroy")
)

var nodePoolWords = newVocabulary(table{
	kind: KindNodePool, label: nodePoolLabel, listed: true,
	words:  []string{"delete", "read", "write"},
	levels: []level{denyLevel, {"read", []string{"read"}}, {"write", []string{"delete", "read", "write"}}},
})

var hostVolumeWords = newVocabulary(table{
	kind: KindHostVolume, label: hostVolumeLabel, listed: true,
	words: []string{"mount-readonly", "mount-readwrite"},
	levels: []level{denyLevel, {"read", []string{"mount-readonly"}},
		{"write", []string{"mount-readonly", "mount-readwrite"}}},
})

var (
	agentWords = coarse(KindAgent)
	nodeWords  = coarse(KindNode)
	quotaWords = coarse(KindQuota)
)

// pluginWords differs from the public API in that write satisfies read and list.
var pluginWords = newVocabulary(table{
	kind: KindPlugin, words: []string{"list", "read", "write"},
	levels: []level{denyLevel, {"list", []string{"list"}}, {"read", []string{"list", "read"}},
		{"write", []string{"list", "read", "write"}}},
})

var sentinelWords = newVocabulary(table{
	kind: KindSentinel, listed: true, words: []string{"read", "submit", "delete"},
	levels: []level{denyLevel, {"read", []string{"read"}}, {"write", []string{"read", "submit", "delete"}}},
})

var vocabularies = []*vocabulary{namespaceWords, variableWords, nodePoolWords, hostVolumeWords, agentWords, nodeWords, quotaWords,
	operatorWords, pluginWords, sentinelWords}
