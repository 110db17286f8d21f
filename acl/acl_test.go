package acl

import "testing"

// rights lists every question that an ACL answers.
func rights(a *ACL) map[string]bool {
	return map[string]bool{
		"management":      a.IsManagement(),
		"namespace":       a.AllowNamespace("default"),
		"variable read":   a.AllowVariable("default", "app/db", VariablesRead),
		"variable write":  a.AllowVariable("default", "app/db", VariablesWrite),
		"variable search": a.AllowVariableSearch("default"),
		"agent read":      a.AllowAgentRead(),
		"agent write":     a.AllowAgentWrite(),
		"node read":       a.AllowNodeRead(),
		"operator read":   a.AllowOperatorRead(),
		"operator write":  a.AllowOperatorWrite(),
		"server":          a.AllowServerOp(),
	}
}

func TestAllowAll(t *testing.T) {
	for right, ok := range rights(AllowAll) {
		if !ok {
			t.Errorf("%s is denied", right)
		}
	}
}

func TestNobodyMayDoAnything(t *testing.T) {
	for name, a := range map[string]*ACL{"nil": nil, "deny all": DenyAll, "zero": {}} {
		for right, ok := range rights(a) {
			if ok {
				t.Errorf("%s: %s is allowed", name, right)
			}
		}
	}
}

// TestExpansions states what the words mean, apart from the tables.
func TestExpansions(t *testing.T) {
	for _, c := range []struct {
		src      string
		yes, not []NamespaceCapability
	}{
		{`policy = "read"`, []NamespaceCapability{ListJobs, ParseJob, ReadJob, CSIListVolume, CSIReadVolume, ReadJobScaling, ListScalingPolicies,
			ReadScalingPolicy, HostVolumeRead}, []NamespaceCapability{SubmitJob, ScaleJob, ReadLogs, HostVolumeCreate, PlanJob}},
		{`policy = "write"`, []NamespaceCapability{ListJobs, HostVolumeRead, ScaleJob, SubmitJob, DispatchJob, ReadLogs, ReadFS, AllocExec,
			AllocLifecycle, CSIMountVolume, CSIWriteVolume, SubmitRecommendation, HostVolumeCreate, PurgeJob, DeleteServiceRegistration},
			[]NamespaceCapability{AllocNodeExec, SentinelOverride, CSIRegisterPlugin, HostVolumeDelete, HostVolumeRegister, NamespaceManage, "nonsense", ""}},
		{`policy = "scale"`, []NamespaceCapability{ListScalingPolicies, ReadScalingPolicy, ReadJobScaling, ScaleJob, ReadJob, SubmitRecommendation},
			[]NamespaceCapability{ListJobs, SubmitJob}},
		{`policy = "deny"`, nil, []NamespaceCapability{ListJobs, Deny}},
		{`capabilities = ["host-volume-write"]`, []NamespaceCapability{HostVolumeRegister, HostVolumeCreate, HostVolumeDelete, HostVolumeRead, HostVolumeWrite},
			[]NamespaceCapability{ReadJob}},
		{`capabilities = ["host-volume-register"]`, []NamespaceCapability{HostVolumeCreate, HostVolumeRead}, []NamespaceCapability{HostVolumeDelete}},
		{`capabilities = ["host-volume-create"]`, []NamespaceCapability{HostVolumeRead}, []NamespaceCapability{HostVolumeRegister}},
		{`capabilities = ["purge-job"]`, []NamespaceCapability{PurgeJob}, []NamespaceCapability{SubmitJob, DeregisterJob}},
		{`capabilities = ["submit-job", "deny"]`, nil, []NamespaceCapability{SubmitJob}},
	} {
		a := mustACL(t, mustPolicy(t, "", "namespace \"x\" {\n"+c.src+"\n}"))
		for _, y := range c.yes {
			if !a.AllowNamespaceOperation("x", y) || !a.AllowNsOp("x", "nonsense", y) || a.AllowNamespaceOperation("y", y) {
				t.Errorf("%s does not grant %s", c.src, y)
			}
		}
		for _, n := range c.not {
			if a.AllowNamespaceOperation("x", n) {
				t.Errorf("%s grants %s", c.src, n)
			}
		}
		if got, want := a.AllowNamespace("x"), c.yes != nil; got != want {
			t.Errorf("%s: namespace visible %v", c.src, got)
		}
	}
}

// TestWordsDoNotDelegate keeps the policies of old from growing into management.
func TestWordsDoNotDelegate(t *testing.T) {
	a := mustACL(t, mustPolicy(t, "", `operator { policy = "write" }
namespace "*" { policy = "write" }`))
	for _, w := range publicOperator {
		if !a.AllowOperatorCapability(OperatorCapability(w)) {
			t.Errorf("operator write does not grant %s", w)
		}
	}
	for _, w := range delegated {
		if a.AllowOperatorCapability(OperatorCapability(w)) {
			t.Errorf("operator write grants %s", w)
		}
		b := mustACL(t, mustPolicy(t, "", `operator { capabilities = ["`+w+`"] }`))
		if !b.AllowOperatorCapability(OperatorCapability(w)) || b.AllowOperatorRead() || b.IsManagement() {
			t.Errorf("%s alone gives the wrong rights", w)
		}
	}
	if a.AllowNamespaceWrite("x") {
		t.Error("namespace write lets namespaces be deleted")
	}
	b := mustACL(t, mustPolicy(t, "", `namespace "team-*" { capabilities = ["manage-namespace"] }`))
	if !b.AllowNamespaceWrite("team-a") || b.AllowNamespaceWrite("x") || b.AllowNamespaceWrite("*") {
		t.Error("manage-namespace does not follow its pattern")
	}
}

func TestDenyWinsOverEveryPolicy(t *testing.T) {
	a := mustACL(t, mustPolicy(t, "", `agent { policy = "write" }
plugin { policy = "write" }
operator { policy = "write" }`), mustPolicy(t, "", `agent { policy = "deny" }
operator { capabilities = ["deny"] }`))
	if a.AllowAgentRead() || a.AllowAgentWrite() || a.AllowAgentDebug(true) || a.AllowOperatorRead() || a.AllowOperatorCapability(SnapshotSave) {
		t.Error("deny did not win")
	}
	if !a.AllowPluginList() || !a.AllowPluginRead() || !a.AllowPluginWrite() {
		t.Error("plugin write lacks rights")
	}
}

func TestIdentities(t *testing.T) {
	for name, c := range map[string]struct {
		a                                              *ACL
		server, client, serverRead, agent, debug, mgmt bool
	}{
		"nil":        {},
		"deny":       {a: DenyAll},
		"management": {a: Management, serverRead: true, agent: true, debug: true, mgmt: true},
		"off":        {a: Disabled, server: true, client: true, serverRead: true, agent: true, mgmt: true},
		"server":     {a: Server, server: true, serverRead: true},
		"client":     {a: Client("gpu"), client: true, serverRead: true, agent: true, debug: true},
	} {
		a := c.a
		got := []bool{a.AllowServerOp(), a.AllowClientOp(), a.AllowServerRead(), a.AllowAgentRead(), a.AllowAgentDebug(false), a.IsManagement()}
		for i, want := range []bool{c.server, c.client, c.serverRead, c.agent, c.debug, c.mgmt} {
			if got[i] != want {
				t.Errorf("%s: question %d is %v", name, i, got[i])
			}
		}
	}
	if !Disabled.AllowAgentDebug(true) || Disabled.AllowSentinel(SentinelRead) || !Management.AllowSentinel(SentinelRead) {
		t.Error("wrong exceptions while access control is off")
	}
	if Client("gpu").ClientPool() != "gpu" || !Client("gpu").AllowNodePool("gpu") || Client("gpu").AllowNodePool("cpu") || Client("gpu").AllowNodeRead() {
		t.Error("a client is not scoped to its pool")
	}
}

func TestWorkload(t *testing.T) {
	base := mustACL(t, mustPolicy(t, "", `namespace "a" {
  variables {
    path "nomad/jobs/web/front" { capabilities = ["write"] }
    path "nomad/jobs/*" { capabilities = ["destroy"] }
  }
}`))
	a := base.WithWorkload(Workload{"a", "web", "front", "nginx"})
	for path, ok := range map[string]bool{
		"nomad/jobs": true, "nomad/jobs/web": true, "nomad/jobs/web/front/nginx": true,
		"nomad/jobs/web/front": false, // a rule names it
		"nomad/jobs/other":     false, "nomad/jobs/web/front/redis": false, "nomad": false,
	} {
		if got := a.AllowVariable("a", path, VariablesRead); got != ok {
			t.Errorf("%s: %v", path, got)
		}
		if a.AllowVariable("b", path, VariablesRead) || base.AllowVariable("a", path, VariablesRead) {
			t.Errorf("%s: allowed to others", path)
		}
	}
	if a.AllowVariable("a", "nomad/jobs/web", VariablesDestroy) || !a.AllowVariable("a", "nomad/jobs/other", VariablesDestroy) {
		t.Error("the implicit grant does not come before globs")
	}
	if !a.AllowServiceList("a") || a.AllowServiceList("b") || base.AllowServiceList("a") || !a.AllowVariableSearch("*") {
		t.Error("wrong lists")
	}
	if (*ACL)(nil).WithWorkload(Workload{Namespace: "a", JobID: "web", Task: "t"}).AllowVariable("a", "nomad/jobs/web/t", VariablesRead) {
		t.Error("a task without group has a path")
	}
}
