package command

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func member(name, addr string) map[string]any {
	return map[string]any{
		"Name": name + ".global", "Addr": addr, "Port": 4648, "Status": "alive", "ProtocolCur": 2,
		"Tags": map[string]string{"region": "global", "dc": "dc1", "build": "0.1.0", "raft_vsn": "3", "port": "4647", "id": "id-" + name},
	}
}

func clusterReplies() map[string]reply {
	return map[string]reply{
		"GET /v1/agent/members":                 {body: map[string]any{"Members": []any{member("s2", "10.0.0.2"), nil, member("s1", "10.0.0.1")}}},
		"GET /v1/status/leader":                 {body: `"10.0.0.2:4647"`},
		"GET /v1/status/peers":                  {body: `["10.0.0.1:4647","10.0.0.2:4647"]`},
		"GET /v1/regions":                       {body: `["global"]`},
		"GET /v1/operator/raft/configuration":   {body: map[string]any{"Index": 5, "Servers": []any{map[string]any{"Node": "s2.global", "ID": "id-s2", "Address": "10.0.0.2:4647", "Leader": true, "Voter": true, "RaftProtocol": "3"}, nil}}},
		"DELETE /v1/operator/raft/peer?id=x%26": {},
	}
}

func TestServerMembers(t *testing.T) {
	f := newFakeAgent(t, clusterReplies())
	f.run("server", "members").expect(t, 0, []string{
		"Name       Address   Port  Status  Leader  Raft Version  Build  Datacenter  Region\n" +
			"s1.global  10.0.0.1  4648  alive   false   3             0.1.0  dc1         global\n" +
			"s2.global  10.0.0.2  4648  alive   true    3             0.1.0  dc1         global\n"}, nil)
	f.run("server", "members", "-verbose").expect(t, 0, []string{"RPC Address", "10.0.0.2:4647", "id-s2"}, nil)
	f.run("server", "members", "-detailed").expect(t, 0, []string{"build=0.1.0,dc=dc1,id=id-s1,port=4647,raft_vsn=3,region=global"}, nil)
	f.run("server", "members", "-json").expect(t, 0, []string{`"Name": "s1.global"`}, nil)
	f.run("server", "members", "-t", "{{range .}}{{.Name}},{{end}}").expect(t, 0, []string{"s1.global,s2.global,\n"}, nil)
	f.run("server-members").expect(t, 0, []string{"s1.global"}, []string{"old name of `cairn server members`"})
}

func TestServerMembersWithoutLeader(t *testing.T) {
	for _, rep := range []struct {
		leader reply
		want   string
	}{
		{reply{status: 500, body: "No cluster leader"}, `the leader of region "global" is unknown: no cluster leader (HTTP 500)`},
		{reply{body: `""`}, `region "global" has no leader`},
	} {
		replies := clusterReplies()
		replies["GET /v1/status/leader"] = rep.leader
		f := newFakeAgent(t, replies)
		r := f.run("server", "members")
		r.expect(t, 0, []string{"s1.global", "false"}, []string{rep.want})
		if strings.Contains(r.stdout, "true") {
			t.Errorf("a server is called leader:\n%s", r.stdout)
		}
	}
}

func TestServerJoin(t *testing.T) {
	f := newFakeAgent(t, map[string]reply{
		"PUT /v1/agent/join?address=a&address=b%3A4648": {body: `{"num_joined":1,"warning":"Missing write"}`},
		"PUT /v1/agent/join?address=bad":                {body: `{"num_joined":0,"error":"No route\n\t* to \u001bit\n\n"}`},
		"PUT /v1/agent/join?address=client":             {status: 501, body: "Invalid method"},
	})
	f.run("server", "join", "a", "b:4648").expect(t, 0, []string{"joined 1 of 2 servers"}, []string{"warning: missing write"})
	f.run("server", "join", "bad").expect(t, 1, nil, []string{"joining: no route\n  * to \\x1bit\ncheck", "gossip port"})
	f.run("server", "join", "client").expect(t, 1, nil, []string{"HTTP 501"})
}

func TestServerForceLeave(t *testing.T) {
	replies := clusterReplies()
	replies["PUT /v1/agent/force-leave?node=s1"] = reply{}
	replies["PUT /v1/agent/force-leave?node=s1.global&prune=1"] = reply{}
	replies["PUT /v1/agent/force-leave?node=s2.global"] = reply{status: 500, body: "no"}
	f := newFakeAgent(t, replies)
	f.run("server", "force-leave", "s1").expect(t, 0, []string{"s1 is leaving"}, nil)
	f.run("server", "force-leave", "-prune", "s1.global").expect(t, 0, nil, nil)
	if got := f.last().line; !strings.HasSuffix(got, "prune=1") {
		t.Errorf("sent %s", got)
	}
	f.run("server", "force-leave", "s2.global").expect(t, 1, nil, []string{"forcing s2.global to leave"})
	f.run("server", "force-leave", "zz").expect(t, 1, nil, []string{`no server is called "zz"`, "the agent knows s1.global, s2.global"})
	if got := f.last().line; strings.Contains(got, "force-leave") {
		t.Errorf("an unknown name was sent: %s", got)
	}
}

func TestRaftPeers(t *testing.T) {
	f := newFakeAgent(t, clusterReplies())
	f.run("operator", "raft", "list-peers").expect(t, 0, []string{
		"Node       ID     Address        State   Voter  RaftProtocol\ns2.global  id-s2  10.0.0.2:4647  leader  yes    3\n"}, nil)
	f.run("operator", "raft", "list-peers", "-stale", "-json").expect(t, 0, []string{`"Index": 5`}, nil)
	if got := f.last().line; got != "GET /v1/operator/raft/configuration?stale=" {
		t.Errorf("sent %s", got)
	}
	f.run("operator", "raft", "remove-peer", "-peer-id", "x&").expect(t, 0, []string{"removed peer x&"}, nil)
}

func TestRaftTransferLeadership(t *testing.T) {
	f := newFakeAgent(t, map[string]reply{
		"PUT /v1/operator/raft/transfer-leadership?id=i":             {},
		"PUT /v1/operator/raft/transfer-leadership?address=a%3A4647": {},
		"PUT /v1/operator/raft/transfer-leadership?id=refused":       {status: 500, body: "refused"},
	})
	f.run("operator", "raft", "transfer-leadership", "-peer-id", "i").expect(t, 0, []string{"transferred leadership to i"}, nil)
	f.run("operator", "raft", "transfer-leadership", "-peer-address", "a:4647").expect(t, 0, nil, nil)
	f.run("operator", "raft", "transfer-leadership", "-peer-id", "refused").expect(t, 1, nil, []string{"refused (HTTP 500)"})
	f.run("operator", "raft", "transfer-leadership", "-peer-id", "zz").expect(t, 1, nil, []string{"list-peers"})
}

func TestOperatorMetrics(t *testing.T) {
	f := newFakeAgent(t, map[string]reply{
		"GET /v1/metrics":                   {body: `{"Gauges":[{"Name":"g","Value":12345678901234567}]}`},
		"GET /v1/metrics?format=prometheus": {body: "# TYPE g gauge\ng 1\n"},
	})
	f.run("operator", "metrics").expect(t, 0, []string{`{"Gauges":[{`}, nil)
	f.run("operator", "metrics", "-json").expect(t, 0, []string{`"Value": 12345678901234567`}, nil)
	f.run("operator", "metrics", "-pretty").expect(t, 0, []string{`    "Gauges": [`}, nil)
	f.run("operator", "metrics", "-format", "prometheus").expect(t, 0, []string{"g 1\n"}, nil)
	f.run("operator", "metrics", "-t", "{{(index .Gauges 0).Name}}").expect(t, 0, []string{"g\n"}, nil)
}

func TestAgentInfo(t *testing.T) {
	f := newFakeAgent(t, map[string]reply{"GET /v1/agent/self": {body: map[string]any{
		"config": map[string]any{"Region": "global"}, "member": member("s1", "10.0.0.1"),
		"stats": map[string]any{"raft": map[string]string{"term": "2", "commit_index": "9"}, "nomad": map[string]string{"leader": "true"}},
	}}})
	f.run("agent-info").expect(t, 0, []string{"nomad\nleader = true\n\nraft\ncommit_index = 9\nterm         = 2\n"}, nil)
	f.run("agent-info", "-t", "{{.stats.raft.term}} {{.member.Name}}").expect(t, 0, []string{"2 s1.global\n"}, nil)
	f.run("agent-info", "-json").expect(t, 0, []string{`"Region": "global"`}, nil)
}

func TestStatusOverview(t *testing.T) {
	f := newFakeAgent(t, clusterReplies())
	f.run("status").expect(t, 0, []string{"Leader     = 10.0.0.2:4647\n", "Servers    = 2 alive of 2\n", "s2.global  10.0.0.2:4647  alive   true    dc1         global\n"}, nil)
	f.run("status", "-t", "{{.Leader}}").expect(t, 0, []string{"10.0.0.2:4647\n"}, nil)
	replies := clusterReplies()
	replies["GET /v1/status/leader"] = reply{status: 500, body: "No cluster leader"}
	newFakeAgent(t, replies).run("status").expect(t, 0, []string{"Leader     = none"}, []string{"no cluster leader"})
}

func TestStatusFinds(t *testing.T) {
	replies := clusterReplies()
	replies["GET /v1/namespaces?prefix=app"] = reply{body: []map[string]any{{"Name": "app"}, {"Name": "app2"}}}
	replies["GET /v1/vars?namespace=%2A&prefix=app"] = reply{body: []map[string]any{{"Namespace": "web", "Path": "app/db", "ModifyIndex": 4}}}
	replies["GET /v1/vars?namespace=%2A&prefix=app%2F"] = replies["GET /v1/vars?namespace=%2A&prefix=app"]
	for _, line := range []string{"GET /v1/namespaces", "GET /v1/vars", "GET /v1/nodes", "GET /v1/node/pools"} {
		replies[line] = reply{body: "[]"}
	}
	replies["GET /v1/nodes?prefix=1f"] = reply{body: []map[string]any{{"ID": "1f3a", "Name": "worker", "NodePool": "gpu", "Status": "ready"}}}
	replies["GET /v1/node/pools?prefix=gp"] = reply{body: []map[string]any{{"Name": "gpu", "Description": "with cards"}}}
	f := newFakeAgent(t, replies)
	f.run("status", "1F").expect(t, 0, []string{"node 1f3a\n", "Node Pool   = gpu\n", "Status      = ready\n"}, nil)
	f.run("status", "gp").expect(t, 0, []string{"node pool gpu\n", "with cards"}, nil)
	f.run("status", "app").expect(t, 0, []string{"namespace app\nName        = app\n"}, nil)
	f.run("status", "app/").expect(t, 0, []string{"variable app/db\n", "Check Index = 4"}, nil)
	f.run("status", "s").expect(t, 0, []string{"Kind    Namespace  Name\nserver  -          s1.global\nserver  -          s2.global\n"}, nil)
	f.run("status", "s1").expect(t, 0, []string{"server s1.global\n", "raft_vsn = 3\n"}, nil)
	f.run("status", "-json", "s1").expect(t, 0, []string{`"Kind": "server"`}, nil)
	f.run("status", "-namespace", "web", "zz").expect(t, 1, nil, []string{`nothing starts with "zz"`})
	replies["GET /v1/vars"] = reply{status: 500, body: "No cluster leader"}
	f.run("status", "-namespace", "web", "zz").expect(t, 1, nil, []string{"no cluster leader (HTTP 500)", "not everything could be searched"})

	// What a search does not find is not asked for; what it may not look into is.
	replies["PUT /v1/search"] = reply{body: map[string]any{"Matches": map[string]any{"nodes": []string{"1f3a"}, "vars": nil, "node_pools": nil, "jobs": nil}}}
	f = newFakeAgent(t, replies)
	f.run("status", "1f").expect(t, 0, []string{"node 1f3a\n"}, nil)
	want := []string{"PUT /v1/search?namespace=%2A", "GET /v1/namespaces?prefix=1f", "GET /v1/nodes?prefix=1f", "GET /v1/agent/members"}
	if got := f.asked(); !slices.Equal(got, want) {
		t.Errorf("asked %q", got)
	}
	newFakeAgent(t, nil).run("status", "x").expect(t, 1, nil, []string{"looking up x"})
}

func TestOperatorAPI(t *testing.T) {
	f := newFakeAgent(t, map[string]reply{
		"GET /v1/regions":   {body: `["global"]`},
		"GET /v1/vars":      {body: `[]`},
		"PUT /v1/namespace": {},
		"POST /v1/x":        {body: "posted"},
		"DELETE /v1/var/a":  {status: 204},
		"GET /v1/denied":    {status: 403, body: "Permission denied"},
	})
	env := map[string]string{"CAIRN_ADDR": f.URL, "CAIRN_TOKEN": "t0ken"}
	i := invocation{env: env}
	i.run("operator", "api", "/v1/regions").expect(t, 0, []string{`["global"]`}, nil)
	if got := f.last(); got.line != "GET /v1/regions" || got.token != "t0ken" {
		t.Errorf("sent %+v", got)
	}
	i.run("operator", "api", "-filter", `Path contains "x"`, "-namespace", "web", "v1/vars?prefix=a").expect(t, 0, []string{"[]"}, nil)
	if got := f.last().line; got != "GET /v1/vars?filter=Path+contains+%22x%22&namespace=web&prefix=a" {
		t.Errorf("sent %s", got)
	}
	i.run("operator", "api", "-d", `{"Name":"w"}`, "/v1/namespace").expect(t, 0, nil, nil)
	if got := f.last(); got.line != "PUT /v1/namespace" || got.body != `{"Name":"w"}` {
		t.Errorf("sent %+v", got)
	}
	i.run("operator", "api", "-d", "@"+write(t, "b", "from file"), "-X", "post", "/v1/x").expect(t, 0, []string{"posted"}, nil)
	if got := f.last(); got.body != "from file" {
		t.Errorf("sent %+v", got)
	}
	i.run("operator", "api", "-X", "DELETE", "/v1/var/a").expect(t, 0, nil, nil)
	i.run("operator", "api", "/v1/denied").expect(t, 1, nil, []string{"HTTP 403", "Permission denied", "CAIRN_TOKEN"})
	i.run("operator", "api", "-verbose", "/v1/regions").expect(t, 0, []string{"global"}, []string{"> GET " + f.URL + "/v1/regions", "200 OK"})
	in := invocation{env: env, stdin: strings.NewReader("piped")}
	in.run("operator", "api", "-X", "POST", "/v1/x").expect(t, 0, []string{"posted"}, nil)
	if got := f.last(); got.body != "piped" {
		t.Errorf("sent %+v", got)
	}
}

func TestOperatorAPIKeepsTheTokenToItself(t *testing.T) {
	own, other := newFakeAgent(t, nil), newFakeAgent(t, map[string]reply{"GET /v1/regions": {body: "[]"}})
	i := invocation{env: map[string]string{"CAIRN_ADDR": own.URL, "CAIRN_TOKEN": "t0ken"}}
	i.run("operator", "api", other.URL+"/v1/regions").expect(t, 0, nil, nil)
	if got := other.last(); got.token != "" {
		t.Errorf("a foreign host got the token: %+v", got)
	}
	r := i.run("operator", "api", "-dryrun", "-H", "Authorization: Bearer b3arer", "-H", "X-A: it's", "-d", `{"a":"it's"}`, "-tls-skip-verify", "/v1/x")
	want := `curl -X PUT -H 'Authorization: <redacted>' -H 'X-A: it'\''s' -H 'X-Nomad-Token: <redacted>' --insecure --data-binary '{"a":"it'\''s"}' '` + own.URL + "/v1/x'\n"
	if r.stdout != want || r.code != 0 {
		t.Errorf("printed\n%s want\n%s", r.stdout, want)
	}
	if len(own.asked()) != 0 {
		t.Error("a dry run sent a request")
	}
}

func TestDevNullIsNoBody(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	f := newFakeAgent(t, map[string]reply{"PUT /v1/x": {}})
	invocation{env: map[string]string{"CAIRN_ADDR": f.URL}, stdin: null}.run("operator", "api", "-X", "PUT", "/v1/x").expect(t, 0, nil, nil)
}
