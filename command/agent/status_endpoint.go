package agent

func statusRoutes() []route {
	return []route{
		plain[string](doc{methods: "GET", pattern: "/v1/status/leader", rpc: "Status.Leader",
			summary: "Tell the address of the leader, empty when there is none."}),
		plain[[]string](doc{methods: "GET", pattern: "/v1/status/peers", rpc: "Status.Peers",
			summary: "List the Raft addresses of the servers."}),
		plain[[]string](doc{methods: "GET", pattern: "/v1/regions", rpc: "Region.List",
			summary: "List the regions known from gossip."}),
	}
}
