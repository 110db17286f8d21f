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
	{name: "agent", new: func() action { return &agentRun{} }},
	{name: "agent-info", new: func() action { return &agentInfo{} }},
	{name: "namespace", new: subcommands("work with namespaces", "A namespace is a room of names: objects of two namespaces never collide, and policies grant rights by namespace.", "namespace list")},
	{name: "namespace apply", new: func() action { return &namespaceApply{} }},
	{name: "namespace delete", new: func() action { return &namespaceDelete{} }},
	{name: "namespace inspect", new: func() action { return &namespaceInspect{} }},
	{name: "namespace list", new: func() action { return &namespaceList{} }},
	{name: "namespace status", new: func() action { return &namespaceStatus{} }},
	{name: "operator", new: subcommands("run the cluster", "Tools for those who keep a cluster running.", "operator raft list-peers")},
	{name: "operator api", new: func() action { return &operatorAPI{} }},
	{name: "operator metrics", new: func() action { return &operatorMetrics{} }},
	{name: "operator raft", new: subcommands("look at and change the Raft peers", "Servers that take part in Raft hold the state. These commands show and change who they are.", "operator raft list-peers")},
	{name: "operator raft list-peers", new: func() action { return &raftListPeers{} }},
	{name: "operator raft remove-peer", new: func() action { return &raftRemovePeer{} }},
	{name: "operator raft transfer-leadership", new: func() action { return &raftTransfer{} }},
	{name: "server", new: subcommands("work with servers", "Servers find each other by gossip. These commands show and change who is known.", "server members")},
	{name: "server force-leave", new: func() action { return &serverForceLeave{} }},
	{name: "server join", new: func() action { return &serverJoin{} }},
	{name: "server members", new: func() action { return &serverMembers{} }},
	{name: "server-force-leave", new: func() action { return &serverForceLeave{} }, oldNameOf: "server force-leave"},
	{name: "server-join", new: func() action { return &serverJoin{} }, oldNameOf: "server join"},
	{name: "server-members", new: func() action { return &serverMembers{} }, oldNameOf: "server members"},
	{name: "status", new: func() action { return &status{} }},
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
