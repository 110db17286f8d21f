package acl

// IsManagement reports whether the caller may do everything.
func (a *ACL) IsManagement() bool { return a != nil && (a.management || a.miss("", "", "management")) }

// AllowServerOp reports whether the caller is a server of the cluster.
func (a *ACL) AllowServerOp() bool { return a != nil && (a.server || a.miss("", "", "server")) }

// AllowClientOp reports whether the caller is a node agent of the cluster.
func (a *ACL) AllowClientOp() bool { return a != nil && (a.client || a.miss("", "", "client")) }

// AllowServerRead reports whether the caller may read what servers and node
// agents tell each other.
func (a *ACL) AllowServerRead() bool {
	return a != nil && (a.server || a.client || a.management || a.miss("", "", "server"))
}

// ClientPool returns the node pool of a node agent, "" for any other caller.
func (a *ACL) ClientPool() string {
	if a == nil {
		return ""
	}
	return a.pool
}

// granted looks a name up among labelled rules; want 0 asks for any right at all.
func granted(m *matcher, name string, want set) bool {
	if m == nil || want == 0 {
		return false
	}
	rule, ok := m.find(name)
	return ok && rule.set.grants(want)
}

// anything is every capability.
const anything = ^denied

// AllowNamespace reports whether the caller has any right at all in the
// namespace, one on variables included; "*" asks for some namespace.
func (a *ACL) AllowNamespace(ns string) bool {
	switch {
	case a == nil:
		return false
	case a.management:
		return true
	case ns == allNamespaces && a.namespaces != nil && a.namespaces.any(anything):
		return true
	case a.namespaces != nil && ns != allNamespaces:
		if rule, ok := a.namespaces.find(ns); ok && rule.set != 0 {
			return rule.set.grants(anything) || a.miss(KindNamespace, ns, "any")
		}
	}
	return a.searchesVariables(ns) || a.miss(KindNamespace, ns, "any")
}

// AllowNamespaceOperation reports whether the caller may do c in the namespace;
// "*" asks for some namespace. Parts of submit-job are allowed by submit-job too.
func (a *ACL) AllowNamespaceOperation(ns string, c NamespaceCapability) bool {
	if a == nil || a.management {
		return a.IsManagement()
	}
	want := namespaceBits[c]
	if ns == allNamespaces {
		return a.namespaces != nil && a.namespaces.any(want) || a.miss(KindNamespace, ns, string(c))
	}
	return granted(a.namespaces, ns, want) || a.miss(KindNamespace, ns, string(c))
}

// AllowNsOp reports whether the caller may do one of several things in the namespace.
func (a *ACL) AllowNsOp(ns string, one ...NamespaceCapability) bool {
	for _, c := range one {
		if a.AllowNamespaceOperation(ns, c) {
			return true
		}
	}
	return false
}

// AllowNamespaceWrite reports whether the caller may create, change and delete the namespace.
func (a *ACL) AllowNamespaceWrite(ns string) bool {
	return ns != allNamespaces && a.AllowNamespaceOperation(ns, NamespaceManage) || a.AllowOperatorCapability(ManageNamespaces)
}

// AllowNamespaceRead reports whether the caller may read the namespace itself: with any
// right in it, or with the one to change or to copy all namespaces.
func (a *ACL) AllowNamespaceRead(ns string) bool {
	return a.AllowNamespace(ns) || a.AllowOperatorCapability(ManageNamespaces) || a.AllowOperatorCapability(ReplicationRead)
}

// AllowServiceList reports whether the caller may list the services of the
// namespace: with read-job, or as a workload of it.
func (a *ACL) AllowServiceList(ns string) bool {
	return a.AllowNamespaceOperation(ns, ReadJob) || a != nil && a.workload != nil && a.workload.namespace == ns
}

// namespaceBits maps every capability to its bit, for lookups that do not scan.
var namespaceBits = func() map[NamespaceCapability]set {
	out := map[NamespaceCapability]set{}
	for _, w := range namespaceWords.words[1:] {
		out[NamespaceCapability(w)] = namespaceWords.bit(w)
	}
	return out
}()

func variableBit(c VariableCapability) set {
	switch c {
	case VariablesList:
		return variableList
	case VariablesRead:
		return variableRead
	case VariablesWrite:
		return variableWrite
	case VariablesDestroy:
		return variableDestroy
	}
	return 0
}

// AllowVariable reports whether the caller may do c to the variable at path.
func (a *ACL) AllowVariable(ns, path string, c VariableCapability) bool {
	if a == nil || a.management {
		return a.IsManagement()
	}
	rule, ok := a.findVariable(ns, path)
	return ok && rule.set.grants(variableBit(c)) || a.miss(KindVariables, ns, string(c))
}

// findVariable returns the rule that decides: the exact one, then the implicit
// grant of a workload, then the closest glob.
func (a *ACL) findVariable(ns, path string) (match, bool) {
	if a.variables != nil {
		if rule, ok := a.variables.findExact(ns, path); ok {
			return rule, true
		}
	}
	if a.workload.owns(ns, path) {
		return match{namespace: ns, name: path, set: variableList | variableRead}, true
	}
	if a.variables != nil {
		return a.variables.findGlob(ns, path)
	}
	return match{}, false
}

// AllowVariableSearch reports whether some variable of the namespace could be
// visible to the caller, so that a list is worth running; "*" asks for some namespace.
func (a *ACL) AllowVariableSearch(ns string) bool {
	return a.searchesVariables(ns) || a.miss(KindVariables, ns, string(VariablesList))
}

func (a *ACL) searchesVariables(ns string) bool {
	switch {
	case a == nil:
		return false
	case a.management, a.workload != nil && (ns == allNamespaces || ns == a.workload.namespace):
		return true
	}
	return a.variables != nil && a.variables.search(ns)
}

// AllowNodePool reports whether the caller has any right on the node pool.
func (a *ACL) AllowNodePool(pool string) bool {
	return a != nil && (a.management || a.client && a.pool == pool || granted(a.nodePools, pool, anything) || a.miss(KindNodePool, "", "any"))
}

// AllowNodePoolOperation reports whether the caller may do c to the node pool.
func (a *ACL) AllowNodePoolOperation(pool string, c NodePoolCapability) bool {
	if a == nil || a.management {
		return a.IsManagement()
	}
	return a.client && a.pool == pool && c == NodePoolRead || granted(a.nodePools, pool, nodePoolWords.bit(string(c))) ||
		a.miss(KindNodePool, "", string(c))
}

// AllowNodePoolRead reports whether the caller may read the node pool itself: with the
// right to, or with the one to copy all of them.
func (a *ACL) AllowNodePoolRead(pool string) bool {
	return a.AllowNodePoolOperation(pool, NodePoolRead) || a.AllowOperatorCapability(ReplicationRead)
}

// AllowNodePoolSearch reports whether the caller may do c to some node pool, so that
// a list is worth running.
func (a *ACL) AllowNodePoolSearch(c NodePoolCapability) bool {
	switch {
	case a == nil:
		return false
	case a.management, a.client && a.pool != "" && c == NodePoolRead:
		return true
	}
	return a.nodePools != nil && a.nodePools.any(nodePoolWords.bit(string(c))) || a.miss(KindNodePool, "", string(c))
}

// AllowHostVolume reports whether the caller has any right on the static host volume.
func (a *ACL) AllowHostVolume(name string) bool {
	return a != nil && (a.management || granted(a.hostVolumes, name, anything) || a.miss(KindHostVolume, "", "any"))
}

// AllowHostVolumeOperation reports whether the caller may do c to the static host volume.
func (a *ACL) AllowHostVolumeOperation(name string, c HostVolumeCapability) bool {
	return a != nil && (a.management || granted(a.hostVolumes, name, hostVolumeWords.bit(string(c))) ||
		a.miss(KindHostVolume, "", string(c)))
}

// Bits of the coarse kinds: read and write lie at the same place in all of them.
var (
	coarseRead  = agentWords.bit("read")
	coarseWrite = agentWords.bit("write")
)

// AllowAgentRead reports whether the caller may read the agent's own state.
func (a *ACL) AllowAgentRead() bool {
	return a != nil && (a.management || a.agent.grants(coarseRead) || a.miss(KindAgent, "", "read"))
}

// AllowAgentWrite reports whether the caller may change the agent.
func (a *ACL) AllowAgentWrite() bool {
	return a != nil && (a.management || a.agent.grants(coarseWrite) || a.miss(KindAgent, "", "write"))
}

// AllowAgentDebug reports whether the caller may take profiles of the agent.
// enabled is the agent's enable_debug, which decides while access control is off.
func (a *ACL) AllowAgentDebug(enabled bool) bool {
	if a != nil && a.off {
		return enabled
	}
	return a.AllowAgentRead() || a.AllowAgentWrite()
}

// AllowNodeRead reports whether the caller may read nodes and members.
func (a *ACL) AllowNodeRead() bool {
	return a != nil && (a.management || a.node.grants(coarseRead) || a.miss(KindNode, "", "read"))
}

// AllowNodeWrite reports whether the caller may change nodes.
func (a *ACL) AllowNodeWrite() bool {
	return a != nil && (a.management || a.node.grants(coarseWrite) || a.miss(KindNode, "", "write"))
}

// AllowQuotaRead reports whether the caller may read quotas.
func (a *ACL) AllowQuotaRead() bool {
	return a != nil && (a.management || a.quota.grants(coarseRead) || a.miss(KindQuota, "", "read"))
}

// AllowQuotaWrite reports whether the caller may change quotas.
func (a *ACL) AllowQuotaWrite() bool {
	return a != nil && (a.management || a.quota.grants(coarseWrite) || a.miss(KindQuota, "", "write"))
}

// AllowOperatorRead reports whether the caller may read the cluster's configuration.
func (a *ACL) AllowOperatorRead() bool {
	return a != nil && (a.management || a.operator.grants(coarseRead) || a.miss(KindOperator, "", "read"))
}

// AllowOperatorWrite reports whether the caller may change the cluster's configuration.
func (a *ACL) AllowOperatorWrite() bool {
	return a != nil && (a.management || a.operator.grants(coarseWrite) || a.miss(KindOperator, "", "write"))
}

// AllowOperatorCapability reports whether the caller may do c, an action on the cluster.
func (a *ACL) AllowOperatorCapability(c OperatorCapability) bool {
	return a != nil && (a.management || a.operator.grants(operatorWords.bit(string(c))) || a.miss(KindOperator, "", string(c)))
}

// AllowPluginList reports whether the caller may list plugins.
func (a *ACL) AllowPluginList() bool {
	return a != nil && (a.management || a.plugin.grants(pluginWords.bit("list")) || a.miss(KindPlugin, "", "list"))
}

// AllowPluginRead reports whether the caller may read plugins.
func (a *ACL) AllowPluginRead() bool {
	return a != nil && (a.management || a.plugin.grants(pluginWords.bit("read")) || a.miss(KindPlugin, "", "read"))
}

// AllowPluginWrite reports whether the caller may change plugins.
func (a *ACL) AllowPluginWrite() bool {
	return a != nil && (a.management || a.plugin.grants(pluginWords.bit("write")) || a.miss(KindPlugin, "", "write"))
}

// AllowSentinel reports whether the caller may do c to Sentinel policies, which
// nobody may while access control is off.
func (a *ACL) AllowSentinel(c SentinelCapability) bool {
	return a != nil && !a.off && (a.management || a.sentinel.grants(sentinelWords.bit(string(c))) || a.miss(KindSentinel, "", string(c)))
}
