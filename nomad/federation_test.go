package nomad_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// rootSecret is that of the first management token.
const rootSecret = "11111111-2222-3333-4444-555555555555"

func inRegion(name string) nomadtest.Option {
	return func(conf *nomad.Config) { conf.Region = name }
}

// sharing makes regions share what is global, which the region "global" owns.
func sharing(conf *nomad.Config) {
	conf.ACL.Enabled = true
	conf.ACL.ReplicationToken = rootSecret
	conf.AuthoritativeRegion = "global"
}

// regions is a federation of two: home owns what is global.
type regions struct {
	*nomadtest.Cluster
	t         *testing.T
	home, far *nomadtest.Node
}

// runRegions runs a server of the region "global", which has its first token, and
// one of the region "mars".
func runRegions(t *testing.T, fn func(*regions), opts ...nomadtest.Option) {
	t.Helper()
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		r := &regions{Cluster: c, t: t, home: c.Nodes[0]}
		r.mustCall(r.home, "ACL.Bootstrap", &structs.ACLTokenBootstrapRequest{BootstrapSecret: rootSecret}, &structs.ACLTokenUpsertResponse{})
		r.far = c.Add(append(opts, sharing, inRegion("mars"), expects(1), joins(r.home.Host))...)
		within(t, "two regions that lead themselves", func() bool {
			return r.far.IsLeader() && slices.Equal(r.regionsOf(r.home), []string{"global", "mars"}) && slices.Equal(r.regionsOf(r.far), []string{"global", "mars"})
		})
		fn(r)
	}, append(opts, sharing)...)
}

func (r *regions) mustCall(n *nomadtest.Node, method string, args, reply any) {
	r.t.Helper()
	if err := n.RPC(context.Background(), method, args, reply); err != nil {
		r.t.Fatalf("%s: %v", method, err)
	}
}

func (r *regions) regionsOf(n *nomadtest.Node) []string {
	var out []string
	r.mustCall(n, "Region.List", &structs.GenericRequest{}, &out)
	return out
}

// root are the options of a write to a region, "" for that of the server, with all rights.
func root(region string) structs.WriteRequest {
	return structs.WriteRequest{Region: region, AuthToken: rootSecret}
}

// ask are the options of a default read of a region with all rights.
func ask(region string) structs.QueryOptions {
	return structs.QueryOptions{Region: region, AuthToken: rootSecret}
}

func (r *regions) putPolicy(n *nomadtest.Node, name, rules string) {
	r.t.Helper()
	req := &structs.ACLPolicyUpsertRequest{Policies: []*structs.ACLPolicy{{Name: name, Rules: rules}}, WriteRequest: root("")}
	r.mustCall(n, "ACL.UpsertPolicies", req, &structs.GenericResponse{})
}

// policy returns the rules of a policy as the region has it, "" for none.
func (r *regions) policy(n *nomadtest.Node, region, name string) string {
	var reply structs.SingleACLPolicyResponse
	err := n.RPC(context.Background(), "ACL.GetPolicy", &structs.ACLPolicySpecificRequest{Name: name, QueryOptions: ask(region)}, &reply)
	if err != nil || reply.Policy == nil {
		return ""
	}
	return reply.Policy.Rules
}

func (r *regions) putToken(n *nomadtest.Node, token *structs.ACLToken) *structs.ACLToken {
	r.t.Helper()
	var reply structs.ACLTokenUpsertResponse
	r.mustCall(n, "ACL.UpsertTokens", &structs.ACLTokenUpsertRequest{Tokens: []*structs.ACLToken{token}, WriteRequest: root("")}, &reply)
	return reply.Tokens[0]
}

const readAll = `namespace "*" { policy = "read" }`

func TestWritesOfWhatIsGlobalGoToTheAuthoritativeRegion(t *testing.T) {
	runRegions(t, func(r *regions) {
		r.putPolicy(r.far, "reader", readAll)
		if got := r.policy(r.home, "", "reader"); got != readAll {
			t.Fatalf("the authoritative region has the policy %q", got)
		}
		if got := r.policy(r.far, "global", "reader"); got != readAll {
			t.Fatalf("asked through the other region: %q", got)
		}
		global := r.putToken(r.far, &structs.ACLToken{Name: "everywhere", Type: structs.ACLManagementToken, Global: true})
		var tokens structs.ACLTokenListResponse
		r.mustCall(r.home, "ACL.ListTokens", &structs.ACLTokenListRequest{QueryOptions: ask("")}, &tokens)
		if !slices.ContainsFunc(tokens.Tokens, func(s *structs.ACLTokenListStub) bool { return s.AccessorID == global.AccessorID }) {
			t.Fatal("a global token was not made in the authoritative region")
		}
		r.mustCall(r.far, "ACL.DeleteTokens", &structs.ACLTokenDeleteRequest{AccessorIDs: []string{global.AccessorID}, WriteRequest: root("")}, &structs.GenericResponse{})
		r.mustCall(r.home, "ACL.ListTokens", &structs.ACLTokenListRequest{QueryOptions: ask("")}, &tokens)
		if len(tokens.Tokens) != 1 {
			t.Fatalf("the authoritative region has %d tokens", len(tokens.Tokens))
		}
		err := r.far.RPC(context.Background(), "ACL.Bootstrap", &structs.ACLTokenBootstrapRequest{}, &structs.ACLTokenUpsertResponse{})
		if !errors.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "already done") {
			t.Fatalf("another bootstrap gives %v", err)
		}
	})
}

func TestJoiningARegionKeepsTheRaftClustersApart(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		home := c.Nodes[0]
		mustPut(t, home, "app/db", "home")
		far := c.Add(inRegion("mars"), expects(1), joins())
		within(t, "a leader of mars", far.IsLeader)
		mustPut(t, far, "app/db", "far")
		if n, err := home.Join([]string{far.Host + ":4648"}); n != 1 || err != nil {
			t.Fatalf("joined %d: %v", n, err)
		}
		within(t, "four members", func() bool { return len(home.Members()) == 4 && len(far.Members()) == 4 })
		time.Sleep(3 * time.Minute) // longer than the leaders take to compare members and peers
		if here, there := len(peers(t, home)), len(peers(t, far)); here != 3 || there != 1 {
			t.Fatalf("%d and %d peers", here, there)
		}
		for region, want := range map[string]string{"": "home", "global": "home", "mars": "far"} {
			got, err := home.Get(context.Background(), "app/db", structs.QueryOptions{Region: region})
			if err != nil || got.Data.Items["v"] != want {
				t.Errorf("region %q: %+v, %v", region, got, err)
			}
		}
		var list []string
		if err := far.RPC(context.Background(), "Region.List", &structs.GenericRequest{}, &list); err != nil || cmp.Diff([]string{"global", "mars"}, list) != "" {
			t.Errorf("regions %v, %v", list, err)
		}

		// A region none of whose servers lives, and one that nobody has heard of.
		c.Crash(far)
		within(t, "mars is known to be gone", func() bool {
			_, err := home.Get(context.Background(), "app/db", structs.QueryOptions{Region: "mars"})
			return errors.Is(err, errs.NoPath) && strings.Contains(err.Error(), `No path to region "mars": none of its servers is alive`)
		})
		_, err := home.Get(context.Background(), "app/db", structs.QueryOptions{Region: "venus"})
		if !errors.Is(err, errs.NoPath) || !strings.Contains(err.Error(), "the regions known here are global, mars") {
			t.Errorf("got %v", err)
		}
		c.Restart(far)
		time.Sleep(10 * time.Minute) // gossip asks after members that failed now and then, by chance
		within(t, "mars is back", func() bool {
			got, err := home.Get(context.Background(), "app/db", structs.QueryOptions{Region: "mars"})
			return err == nil && got.Data != nil
		})
	})
}
