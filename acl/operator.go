package acl

// OperatorCapability is a right on the cluster itself. The set is closed: every
// action that takes a management token otherwise has one, so that it can be
// delegated without such a token.
type OperatorCapability string

// The capabilities of the public API. The policy word read means license-read
// and keyring-read, write all five.
const (
	SnapshotSave  OperatorCapability = "snapshot-save"
	LicenseRead   OperatorCapability = "license-read"
	KeyringRead   OperatorCapability = "keyring-read"
	KeyringRotate OperatorCapability = "keyring-rotate"
	KeyringDelete OperatorCapability = "keyring-delete"
)

// Delegated management actions. No policy word grants them. Whoever may write
// policies, tokens, roles, auth methods or binding rules could raise its own
// rights: an endpoint holds it to them, as far as none of the capabilities in
// sovereign says otherwise.
const (
	// ManageNamespaces creates, changes and deletes any namespace.
	ManageNamespaces OperatorCapability = "namespace-write"
	// The read capabilities of ACL objects see all of them, also in the event stream.
	ACLPolicyRead  OperatorCapability = "acl-policy-read"
	ACLPolicyWrite OperatorCapability = "acl-policy-write"
	// ACLPolicyAnonymous lets who may write policies write that of callers without a token too,
	// ACLPolicyWorkload those of workloads, which get them without anybody's consent.
	ACLPolicyAnonymous OperatorCapability = "acl-policy-anonymous"
	ACLPolicyWorkload  OperatorCapability = "acl-policy-workload"
	ACLTokenRead       OperatorCapability = "acl-token-read"
	ACLTokenWrite      OperatorCapability = "acl-token-write"
	// ACLTokenManagement writes management tokens too, ACLTokenSecrets reads the secrets of
	// all tokens.
	ACLTokenManagement OperatorCapability = "acl-token-management"
	ACLTokenSecrets    OperatorCapability = "acl-token-secrets"
	ACLRoleRead        OperatorCapability = "acl-role-read"
	ACLRoleWrite       OperatorCapability = "acl-role-write"
	ACLAuthMethodRead  OperatorCapability = "acl-auth-method-read"
	ACLAuthMethodWrite OperatorCapability = "acl-auth-method-write"
	// ACLAuthMethodSecrets reads auth methods with their secrets, as other regions do to have a copy.
	ACLAuthMethodSecrets OperatorCapability = "acl-auth-method-secrets"
	// ACLAuthMethodKeys lets who may write auth methods have them sign with the cluster's own key or read files of the servers.
	ACLAuthMethodKeys   OperatorCapability = "acl-auth-method-server-keys"
	ACLBindingRuleRead  OperatorCapability = "acl-binding-rule-read"
	ACLBindingRuleWrite OperatorCapability = "acl-binding-rule-write"
	// ACLBindingRuleManagement writes rules that make logins management too.
	ACLBindingRuleManagement OperatorCapability = "acl-binding-rule-management"
	// ACLGrantAll lets who may write ACL objects give, change and take away rights that it
	// does not hold, its own among them, for longer than its own token is valid.
	ACLGrantAll OperatorCapability = "acl-grant-all"
	// ACLOneTimeExpire deletes one-time tokens that have expired.
	ACLOneTimeExpire OperatorCapability = "acl-one-time-token-expire"
	// ACLExplain asks what a token or a set of policies other than one's own may do.
	ACLExplain OperatorCapability = "acl-explain"
	// RaftRead shows the members of the Raft cluster, RaftWrite removes them and moves leadership.
	RaftRead  OperatorCapability = "raft-read"
	RaftWrite OperatorCapability = "raft-write"
	// ReplicationRead reads all that other regions copy, the secrets of tokens and of auth
	// methods included: acl.replication_token needs it, and no more.
	ReplicationRead OperatorCapability = "replication-read"
	// SystemGC runs the garbage collection.
	SystemGC OperatorCapability = "system-gc"
	// EventReadAll follows every topic in every namespace, whatever else may be read.
	EventReadAll OperatorCapability = "event-read-all"
	// VariableLockRead shows who holds the lock of a variable.
	VariableLockRead OperatorCapability = "variable-lock-read"
	// MetricsRead reads the agent's metrics where they are protected.
	MetricsRead OperatorCapability = "metrics-read"
	// IdentitySign has identities of local processes signed, for any node.
	IdentitySign OperatorCapability = "identity-sign"
	// JoinTokenRead lists the tokens that let agents join. JoinTokenWrite revokes
	// them, and makes those for node agents. JoinTokenServer makes those for servers
	// too, and so everything: a server may do all.
	JoinTokenRead   OperatorCapability = "join-token-read"
	JoinTokenWrite  OperatorCapability = "join-token-write"
	JoinTokenServer OperatorCapability = "join-token-server"
	// SnapshotRestore has an archive take the place of the whole state, and so everything:
	// the archive may hold any token.
	SnapshotRestore OperatorCapability = "snapshot-restore"
	// AuthorityRotate replaces the authority that signs certificates.
	AuthorityRotate OperatorCapability = "authority-rotate"
)

var publicOperator = []string{"snapshot-save", "license-read", "keyring-read", "keyring-rotate", "keyring-delete"}

var delegated = []string{"namespace-write",
	"acl-policy-read", "acl-policy-write", "acl-policy-anonymous", "acl-policy-workload",
	"acl-token-read", "acl-token-write", "acl-token-management", "acl-token-secrets", "acl-role-read", "acl-role-write",
	"acl-auth-method-read", "acl-auth-method-write", "acl-auth-method-secrets", "acl-auth-method-server-keys", "acl-one-time-token-expire",
	"acl-binding-rule-read", "acl-binding-rule-write", "acl-binding-rule-management", "acl-grant-all", "acl-explain",
	"raft-read", "raft-write", "replication-read", "system-gc", "event-read-all", "variable-lock-read", "metrics-read", "identity-sign",
	"join-token-read", "join-token-write", "join-token-server", "authority-rotate", "snapshot-restore"}

// sovereign are the capabilities whose holder can become management with what they
// let it make or read.
var sovereign = []string{"acl-token-management", "acl-token-secrets", "acl-binding-rule-management", "acl-grant-all", "replication-read", "join-token-server", "snapshot-restore"}

// withdrawn were capabilities once and never gave a right. Who writes a policy is told;
// what is stored has them left out.
var withdrawn = []string{"keyring-write", "system-reconcile", "eval-delete", "job-batch-deregister", "alloc-transition", "csi-plugin-delete"}

// operatorWords holds the policy words read and write as capabilities too, for
// the calls that ask for one of them.
var operatorWords = newVocabulary(table{
	kind: KindOperator, listed: true, words: joined([]string{"read", "write"}, publicOperator, delegated),
	imply: map[string][]string{
		"acl-policy-write": {"acl-policy-read"}, "acl-token-write": {"acl-token-read"}, "acl-role-write": {"acl-role-read"},
		"acl-token-management": {"acl-token-write"}, "acl-token-secrets": {"acl-token-read"},
		"acl-auth-method-write": {"acl-auth-method-read"}, "acl-binding-rule-write": {"acl-binding-rule-read"},
		"acl-binding-rule-management": {"acl-binding-rule-write"},
		"replication-read":            {"acl-policy-read", "acl-role-read", "acl-token-secrets", "acl-auth-method-read", "acl-auth-method-secrets", "acl-binding-rule-read"},
		"raft-write":                  {"raft-read"}, "join-token-write": {"join-token-read"}, "join-token-server": {"join-token-write", "join-token-read"}, "authority-rotate": {"join-token-read"},
	},
	levels: []level{denyLevel, {"read", []string{"read", "license-read", "keyring-read"}},
		{"write", joined([]string{"read", "write"}, publicOperator)}},
})
