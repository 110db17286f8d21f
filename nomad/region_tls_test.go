package nomad_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/tlsconf"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Regions of one authority copy and pass calls on within TLS; a server that shows the
// certificate of another region is not taken for one of its own.
func TestRegionsWithinTLS(t *testing.T) {
	i := newIssuer(t)
	as := func(region string) nomadtest.Option {
		return func(c *nomad.Config) {
			c.TLS = &nomad.TLSConfig{Source: i.source(tlsconf.RoleServer, region), VerifyServerHostname: true}
		}
	}
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		r := &regions{Cluster: c, t: t, home: c.Nodes[0]}
		r.mustCall(r.home, "ACL.Bootstrap", &structs.ACLTokenBootstrapRequest{BootstrapSecret: rootSecret}, &structs.ACLTokenUpsertResponse{})
		r.far = c.Add(sharing, inRegion("mars"), as("mars"), expects(1), joins(r.home.Host))
		r.rootArrives()
		r.eventually(r.makeAll(r.far)[0], true) // written in global, copied to mars
		for from, to := range map[*nomadtest.Node]string{r.home: "mars", r.far: "global"} {
			if err := from.RPC(t.Context(), "Namespace.ListNamespaces", &structs.NamespaceListRequest{QueryOptions: ask(to)}, &structs.NamespaceListResponse{}); err != nil {
				t.Errorf("a call for %s: %v", to, err)
			}
		}
		source := i.source(tlsconf.RoleServer, "venus")
		venus := c.Add(sharing, inRegion("venus"), func(c *nomad.Config) { c.TLS = &nomad.TLSConfig{Source: source, VerifyServerHostname: true} }, joins(r.home.Host))
		within(t, "venus in the gossip pool", func() bool { return len(r.home.Members()) == 3 && len(venus.Members()) == 3 })
		askVenus := func() error {
			return r.home.RPC(t.Context(), "Region.List", &structs.GenericRequest{QueryOptions: structs.QueryOptions{Region: "venus"}}, &[]string{})
		}
		if err := askVenus(); err != nil {
			t.Errorf("a server of venus with its own certificate: %v", err)
		}
		i.source(tlsconf.RoleServer, "mars") // in the same files
		if err := source.Reload(source.Settings(), nil); err != nil {
			t.Fatal(err)
		}
		c.Fabric.Reset(r.home.Host, venus.Host)
		within(t, "a server of venus with a certificate of mars is refused", func() bool { // once the old connection is known to be gone
			err := askVenus()
			if err == nil {
				t.Error("it was asked")
			}
			return err != nil && strings.Contains(err.Error(), "server.venus.nomad")
		})
		if err := callAs(t, c, i.source(tlsconf.RoleServer, "mars"), "Status.ReadIndex", &structs.ReadIndexRequest{}, nil); !errors.Is(err, errs.PermissionDenied) || !strings.Contains(err.Error(), "server.global.nomad") {
			t.Errorf("a server of mars asks for what servers of global ask each other: %v", err)
		}
	}, sharing, as("global"))
}
