package nomad_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// lastUsed reads the last use of a token from a list at one server, nil for unknown.
func (c caller) lastUsed(accessor string) *time.Time {
	c.t.Helper()
	var list structs.ACLTokenListResponse
	c.must("ACL.ListTokens", &structs.ACLTokenListRequest{QueryOptions: structs.QueryOptions{AllowStale: true, Prefix: accessor}}, &list)
	var one structs.SingleACLTokenResponse
	c.must("ACL.GetToken", &structs.ACLTokenSpecificRequest{AccessorID: accessor, QueryOptions: structs.QueryOptions{AllowStale: true}}, &one)
	at := list.Tokens[0].LastUsedTime
	if (at == nil) != (one.LastUsedTime == nil) || at != nil && !at.Equal(*one.LastUsedTime) {
		c.t.Errorf("the list says %v, the token %v", at, one.LastUsedTime)
	}
	return at
}

func (c caller) usage() structs.ACLTokenUsageResponse {
	c.t.Helper()
	var reply structs.ACLTokenUsageResponse
	c.must("ACL.TokenUsage", &structs.ACLTokenUsageRequest{}, &reply)
	return reply
}

func TestLastUseIsKnownEverywhereAndOutlivesServers(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		began := time.Now()
		root := admin(t, c.WaitLeader())
		follower := c.Follower()
		made := root.token(structs.ACLToken{Type: structs.ACLManagementToken})
		time.Sleep(time.Minute)
		if at := root.lastUsed(made.AccessorID); at != nil {
			t.Fatalf("used at %v before it was", at)
		}
		used := time.Now().Truncate(time.Minute)
		stale := structs.QueryOptions{AllowStale: true}
		caller{follower, t, made.SecretID}.must("ACL.ListTokens", &structs.ACLTokenListRequest{QueryOptions: stale}, &structs.ACLTokenListResponse{})
		time.Sleep(70 * time.Second)
		for _, n := range c.Nodes {
			if at := (caller{n, t, root.secret}).lastUsed(made.AccessorID); at == nil || !at.Equal(used) {
				t.Errorf("%s: last used at %v, want %v", n.Host, at, used)
			}
		}
		// Each server goes and comes back: the others remember, and tell it.
		for _, n := range slices.Clone(c.Nodes) {
			c.Crash(n)
			c.Restart(n)
			c.WaitLeader()
			time.Sleep(70 * time.Second)
		}
		for _, n := range c.Nodes {
			who := caller{n, t, root.secret}
			if at := who.lastUsed(made.AccessorID); at == nil || !at.Equal(used) {
				t.Errorf("%s after the restarts: last used at %v, want %v", n.Host, at, used)
			}
			if u := who.usage(); u.Since.After(began) || len(u.NotHeard) != 0 {
				t.Errorf("%s knows all since %v, the cluster began at %v; not heard: %v", n.Host, u.Since, began, u.NotHeard)
			}
		}
	}, withACL)
}

func TestSilentServersAreNamed(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		root := admin(t, c.WaitLeader())
		time.Sleep(2 * time.Minute)
		if u := root.usage(); len(u.NotHeard) != 0 {
			t.Errorf("not heard: %v", u.NotHeard)
		}
		cut := c.Follower()
		name := fmt.Sprintf("s%d", slices.Index(c.Nodes, cut)+1)
		for _, n := range c.Nodes {
			if n != cut {
				c.Fabric.Cut(n.Host, cut.Host)
			}
		}
		time.Sleep(7 * time.Minute)
		who := caller{c.WaitLeader(), t, root.secret}
		if u := who.usage(); len(u.NotHeard) != 1 || !strings.HasPrefix(u.NotHeard[0], name) {
			t.Errorf("not heard: %v, want %s", u.NotHeard, name)
		}
	}, withACL)
}

// TestUsageOfDeletedTokensIsForgotten holds that memory is bounded by the tokens there are.
func TestUsageOfDeletedTokensIsForgotten(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		root := admin(t, c.Nodes[0])
		made := root.token(structs.ACLToken{Type: structs.ACLManagementToken})
		root.as(made.SecretID).usage()
		if _, ok := root.usage().LastUsed[made.AccessorID]; !ok {
			t.Fatal("the use was not noted")
		}
		root.must("ACL.DeleteTokens", &structs.ACLTokenDeleteRequest{AccessorIDs: []string{made.AccessorID}}, &structs.GenericResponse{})
		time.Sleep(65 * time.Minute)
		if _, ok := root.usage().LastUsed[made.AccessorID]; ok {
			t.Error("the deleted token is still remembered")
		}
		root.as("").refused(errs.PermissionDenied, "ACL.TokenUsage", &structs.ACLTokenUsageRequest{}, &structs.ACLTokenUsageResponse{})
	}, withACL)
}
