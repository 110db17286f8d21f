package command

// entry is a row of the registry.
type entry struct {
	// name is the full name, words separated by one space.
	name string
	// new returns a fresh action.
	new func() action
	// oldNameOf is the name that replaced this one, "" for current commands.
	oldNameOf string
}

// registry is the table of all commands.
var registry = []entry{
	{name: "acl", new: subcommands("access control", "Tokens say who a request is from, policies what it may do, and roles put policies together. Auth methods and binding rules let people and programs of another directory log in.", "acl bootstrap")},
	{name: "acl auth-method", new: subcommands("SSO methods", "An auth method lets people and programs log in with the identity of another directory.", "acl auth-method list")},
	{name: "acl auth-method create", new: func() action { return &aclAuthMethodWrite{} }},
	{name: "acl auth-method delete", new: newACLAuthMethodDelete},
	{name: "acl auth-method info", new: newACLAuthMethodInfo},
	{name: "acl auth-method list", new: newACLAuthMethodList},
	{name: "acl auth-method update", new: func() action { return &aclAuthMethodWrite{update: true} }},
	{name: "acl binding-rule", new: subcommands("SSO binding rules", "A binding rule turns the claims of a login into rights.", "acl binding-rule list")},
	{name: "acl binding-rule create", new: func() action { return &aclBindingRuleWrite{} }},
	{name: "acl binding-rule delete", new: newACLBindingRuleDelete},
	{name: "acl binding-rule info", new: newACLBindingRuleInfo},
	{name: "acl binding-rule list", new: newACLBindingRuleList},
	{name: "acl binding-rule update", new: func() action { return &aclBindingRuleWrite{update: true} }},
	{name: "acl bootstrap", new: func() action { return &aclBootstrap{} }},
	{name: "acl explain", new: func() action { return &aclExplain{} }},
	{name: "acl policy", new: subcommands("work with policies", "A policy is a named text of rules that grant rights.", "acl policy list")},
	{name: "acl policy apply", new: func() action { return &aclPolicyApply{} }},
	{name: "acl policy delete", new: newACLPolicyDelete},
	{name: "acl policy info", new: newACLPolicyInfo},
	{name: "acl policy lint", new: func() action { return &aclPolicyLint{} }},
	{name: "acl policy list", new: newACLPolicyList},
	{name: "acl policy self", new: newACLPolicySelf},
	{name: "acl policy test", new: func() action { return &aclPolicyTest{} }},
	{name: "acl role", new: subcommands("work with roles", "A role is a set of policies under one name, that tokens and logins are given.", "acl role list")},
	{name: "acl role create", new: func() action { return &aclRoleWrite{} }},
	{name: "acl role delete", new: newACLRoleDelete},
	{name: "acl role info", new: func() action { return &aclRoleInfo{} }},
	{name: "acl role list", new: newACLRoleList},
	{name: "acl role self", new: newACLRoleSelf},
	{name: "acl role update", new: func() action { return &aclRoleWrite{update: true} }},
	{name: "acl token", new: subcommands("work with tokens", "A token is a secret with rights. Its accessor names it in public.", "acl token self")},
	{name: "acl token create", new: func() action { return &aclTokenCreate{} }},
	{name: "acl token delete", new: newACLTokenDelete},
	{name: "acl token info", new: newACLTokenInfo},
	{name: "acl token list", new: newACLTokenList},
	{name: "acl token prune", new: func() action { return &aclTokenPrune{} }},
	{name: "acl token self", new: newACLTokenSelf},
	{name: "acl token update", new: func() action { return &aclTokenUpdate{} }},
	{name: "agent", new: func() action { return &agentRun{} }},
	{name: "agent socket", new: subcommands("talk to the agent's socket", "The agent answers local processes on a Unix socket: it tells them who they are, vouches for them, holds locks for them. These commands show what it offers and call it.", "agent socket describe")},
	{name: "agent socket call", new: func() action { return &agentSocketCall{} }},
	{name: "agent socket describe", new: func() action { return &agentSocketDescribe{} }},
	{name: "agent socket list", new: func() action { return &agentSocketList{} }},
	{name: "agent-info", new: func() action { return &agentInfo{} }},
	{name: "event", new: subcommands("changes of the cluster", "Every change that a server applies is an event. Servers remember the last ones.", "event stream")},
	{name: "event stream", new: func() action { return &eventStream{} }},
	{name: "login", new: func() action { return &login{} }},
	{name: "monitor", new: func() action { return &monitor{} }},
	{name: "monitor export", new: func() action { return &monitorExport{} }},
	{name: "namespace", new: subcommands("work with namespaces", "A namespace is a room of names: objects of two namespaces never collide, and policies grant rights by namespace.", "namespace list")},
	{name: "namespace apply", new: func() action { return &namespaceApply{} }},
	{name: "namespace delete", new: func() action { return &namespaceDelete{} }},
	{name: "namespace inspect", new: func() action { return &namespaceInspect{} }},
	{name: "namespace list", new: func() action { return &namespaceList{} }},
	{name: "namespace status", new: func() action { return &namespaceStatus{} }},
	{name: "node", new: subcommands("client nodes", "A node is a machine that takes work. Its agent registers it and tells the servers that it is alive.", "node status")},
	{name: "node config", new: func() action { return &nodeConfig{} }},
	{name: "node drain", new: func() action { return &nodeDrain{} }},
	{name: "node eligibility", new: func() action { return &nodeEligibility{} }},
	{name: "node identity", new: subcommands("identities of nodes", "The servers sign an identity for every node, with which its agent proves who it is.", "node identity get")},
	{name: "node identity get", new: func() action { return &nodeIdentityGet{} }},
	{name: "node identity renew", new: func() action { return &nodeIdentityRenew{} }},
	{name: "node intro", new: subcommands("introduction tokens", "An introduction token lets a new node register where the servers want one.", "node intro create")},
	{name: "node intro create", new: func() action { return &nodeIntroCreate{} }},
	{name: "node call", new: func() action { return &nodeCall{} }},
	{name: "node fanout", new: func() action { return &nodeFanout{} }},
	{name: "node link", new: subcommands("links of node agents", "Servers call node agents over links that the agents dialled.", "node link list")},
	{name: "node link kick", new: func() action { return &nodeLinkKick{} }},
	{name: "node link list", new: func() action { return &nodeLinkList{} }},
	{name: "node link show", new: func() action { return &nodeLinkShow{} }},
	{name: "node ping", new: func() action { return &nodePing{} }},
	{name: "node meta", new: subcommands("metadata of nodes", "Metadata is from the configuration of a node's agent, and can be changed while that runs.", "node meta read")},
	{name: "node meta apply", new: func() action { return &nodeMetaApply{} }},
	{name: "node meta read", new: func() action { return &nodeMetaRead{} }},
	{name: "node op", new: subcommands("operations of nodes", "An operation is a change of a node that was asked for over its link.", "node op status")},
	{name: "node op status", new: func() action { return &nodeOpStatus{} }},
	{name: "node pool", new: subcommands("node pools", "A node pool is a named set of nodes. Every node is in one, and in the pool \"all\".", "node pool list")},
	{name: "node pool apply", new: func() action { return &nodePoolApply{} }},
	{name: "node pool delete", new: newNodePoolDelete},
	{name: "node pool info", new: newNodePoolInfo},
	{name: "node pool init", new: func() action { return &nodePoolInit{} }},
	{name: "node pool jobs", new: func() action { return &nodePoolJobs{} }},
	{name: "node pool list", new: newNodePoolList},
	{name: "node pool nodes", new: func() action { return &nodePoolNodes{} }},
	{name: "node status", new: func() action { return &nodeStatus{} }},
	{name: "client-config", new: func() action { return &nodeConfig{} }, oldNameOf: "node config"},
	{name: "node-drain", new: func() action { return &nodeDrain{} }, oldNameOf: "node drain"},
	{name: "node-status", new: func() action { return &nodeStatus{} }, oldNameOf: "node status"},
	{name: "operator", new: subcommands("run the cluster", "Tools for those who keep a cluster running.", "operator raft list-peers")},
	{name: "operator api", new: func() action { return &operatorAPI{} }},
	{name: "operator autopilot", new: subcommands("health of the servers", "The leader looks after the servers: it tells how they do, and takes dead ones out of Raft.", "operator autopilot health")},
	{name: "operator autopilot get-config", new: func() action { return &autopilotGet{} }},
	{name: "operator autopilot health", new: func() action { return &autopilotHealth{} }},
	{name: "operator autopilot set-config", new: func() action { return &autopilotSet{} }},
	{name: "operator gossip", new: subcommands("gossip encryption", "Servers find each other by gossip, which keys can encrypt.", "operator gossip keyring list")},
	{name: "operator gossip keyring", new: subcommands("gossip keys", "A keyring holds the keys that encrypt gossip. They are changed on all servers at once while these run.", "operator gossip keyring list")},
	{name: "operator gossip keyring generate", new: func() action { return &gossipGenerate{} }},
	{name: "operator gossip keyring install", new: newGossipInstall},
	{name: "operator gossip keyring list", new: func() action { return &gossipList{} }},
	{name: "operator gossip keyring remove", new: newGossipRemove},
	{name: "operator gossip keyring use", new: newGossipUse},
	{name: "operator authority", new: subcommands("the certificate authority", "The cluster's own authority signs the certificates of its agents.", "operator authority status")},
	{name: "operator authority status", new: func() action { return &authorityStatus{} }},
	{name: "operator authority rotate", new: func() action { return &authorityRotate{} }},
	{name: "operator join-token", new: subcommands("let new agents join", "A join token lets an agent join the cluster that has no certificate yet.", "operator join-token create -role server")},
	{name: "operator join-token create", new: func() action { return &joinTokenCreate{} }},
	{name: "operator join-token list", new: func() action { return &joinTokenList{} }},
	{name: "operator join-token revoke", new: func() action { return &joinTokenRevoke{} }},
	{name: "operator metrics", new: func() action { return &operatorMetrics{} }},
	{name: "operator raft", new: subcommands("look at and change the Raft peers", "Servers that take part in Raft hold the state. These commands show and change who they are.", "operator raft list-peers")},
	{name: "operator raft list-peers", new: func() action { return &raftListPeers{} }},
	{name: "operator raft remove-peer", new: func() action { return &raftRemovePeer{} }},
	{name: "operator raft transfer-leadership", new: func() action { return &raftTransfer{} }},
	{name: "operator replication", new: subcommands("copies between regions", "One region can own policies, global tokens and namespaces for all. The others copy them.", "operator replication status")},
	{name: "operator replication accept", new: func() action { return &replicationAccept{} }},
	{name: "operator replication status", new: func() action { return &replicationStatus{} }},
	{name: "rpc", new: subcommands("call the operator node", "The operator node answers JSON-RPC 2.0 on a socket of the agent and at /v1/rpc.", "rpc get-api")},
	{name: "rpc describe", new: newRPCDescribe},
	{name: "rpc file", new: newRPCFile},
	{name: "rpc get-api", new: newRPCGetAPI},
	{name: "rpc input", new: newRPCInput},
	{name: "rpc invoke", new: newRPCInvoke},
	{name: "rpc watch", new: newRPCWatch},
	{name: "server", new: subcommands("work with servers", "Servers find each other by gossip. These commands show and change who is known.", "server members")},
	{name: "server force-leave", new: func() action { return &serverForceLeave{} }},
	{name: "server join", new: func() action { return &serverJoin{} }},
	{name: "server members", new: func() action { return &serverMembers{} }},
	{name: "server-force-leave", new: func() action { return &serverForceLeave{} }, oldNameOf: "server force-leave"},
	{name: "server-join", new: func() action { return &serverJoin{} }, oldNameOf: "server join"},
	{name: "server-members", new: func() action { return &serverMembers{} }, oldNameOf: "server members"},
	{name: "system", new: subcommands("upkeep of the cluster", "The leader keeps the store tidy by itself. These commands have it do so at once.", "system gc")},
	{name: "system gc", new: func() action { return &systemGC{} }},
	{name: "status", new: func() action { return &status{} }},
	{name: "tls", new: subcommands("TLS helper", "Agents know each other by certificates. These commands make and show them; they ask no agent.", "tls ca create")},
	{name: "tls ca", new: subcommands("certificate authority", "An authority signs the certificates of a cluster.", "tls ca create")},
	{name: "tls ca create", new: func() action { return &tlsCACreate{} }},
	{name: "tls ca info", new: func() action { return &tlsInfo{authority: true} }},
	{name: "tls cert", new: subcommands("certificates", "A certificate says which role its holder has in a region.", "tls cert create -server")},
	{name: "tls cert create", new: func() action { return &tlsCertCreate{} }},
	{name: "tls cert info", new: func() action { return &tlsInfo{} }},
	{name: "var", new: subcommands("work with variables", "A variable holds encrypted items, names with values, under a path of a namespace. It can also serve as a lock.", "var list")},
	{name: "var get", new: func() action { return &varGet{} }},
	{name: "var init", new: func() action { return &varInit{} }},
	{name: "var list", new: func() action { return &varList{} }},
	{name: "var lock", new: func() action { return &varLock{} }},
	{name: "var purge", new: func() action { return &varPurge{} }},
	{name: "var put", new: func() action { return &varPut{} }},
	{name: "version", new: func() action { return &version{} }},
}

// parent only lists the commands below it.
type parent struct{ synopsis, text, example string }

// subcommands returns the constructor of a parent; example is one of its commands.
func subcommands(synopsis, text, example string) func() action {
	return func() action { return &parent{synopsis, text, example} }
}

func (p *parent) about() about {
	return about{
		synopsis: p.synopsis, usage: "<subcommand> [options] [args]", text: p.text,
		examples: [][2]string{{"Begin here", "cairn " + p.example}},
		max:      -1,
	}
}

func (p *parent) flags(*flags) {}

func (p *parent) run(_ *session, args []string) error {
	if len(args) > 0 {
		return usagef("unknown subcommand %q", args[0])
	}
	return errHelp
}
