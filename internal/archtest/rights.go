package archtest

import (
	"fmt"
	"go/ast"
	"maps"
	"slices"
	"strings"
)

// managementAsked lists the functions that ask whether a caller is management, each with the reason
// why no capability decides there.
var managementAsked = map[string]string{
	"client/authorize.go:Client.Authorize":                       "makes the rights of a token of that type",
	"nomad/auth/auth.go:Resolver.Holder":                         "makes the rights of a token of that type",
	"nomad/auth/policy.go:Identity.Holds":                        "such a token has no policies, and all of them",
	"nomad/acl_checked.go:writeMethod.runChecked":                "what such a caller was allowed cannot change",
	"nomad/acl_checked.go:leaderCall.checkedEntry":               "what such a caller was allowed cannot change",
	"nomad/acl_grant.go:leaderCall.mayGrantToken":                "tells tokens of that type, which have a capability of their own",
	"nomad/acl_token_write.go:leaderCall.mayRaise":               "tells tokens of that type",
	"nomad/acl_holder.go:holders":                                "leaves out tokens of that type, which nothing is kept from",
	"nomad/replication.go:puller.mayReadAll":                     "saves a question: the capability is asked for next",
	"nomad/authenticate.go:allowsOne":                            "asks for a capability next",
	"nomad/node_link_endpoint.go:mayReach":                       "tells node agents from callers with all rights",
	"nomad/node_pool_endpoint.go:onPools":                        "tells what is wrong with a list that names nothing",
	"nomad/node_pool_endpoint.go:nodePoolUpsert":                 "tells what is wrong with a list that names nothing",
	"nomad/state/acl_bootstrap.go:aclBootstraps":                 "a table without events, lists and searches",
	"nomad/state/acl_bootstrap.go:StateStore.BootstrapACLTokens": "the first token is of that type",
	"nomad/state/authority.go:Authorities":                       "a table without events, lists and searches",
	"nomad/state/one_time_token.go:OneTimeTokens":                "a table without events, lists and searches",
	"nomad/state/state_store_cluster.go:Cluster":                 "a table without events, lists and searches",
	"nomad/state/state_store_keyring.go:RootKeys":                "a table without events, lists and searches",
	"command/agent/rpc_auth.go:rpcNode.Authorize":                "closes methods that have no right, and all have one",
}

// unasked lists the capabilities that no method asks for, each with the reason why
// policies may have them.
var unasked = map[string]string{
	"LicenseRead":   "policies of the public API have it",
	"KeyringRotate": "policies of the public API have it",
	"KeyringDelete": "policies of the public API have it",
}

// checkManagement finds what asks for a management token without a reason: what it takes
// must be delegable by a capability.
func checkManagement(t *tree, reasons map[string]string) []problem {
	var out []problem
	used := map[string]bool{}
	for _, f := range t.files {
		if f.test || f.dir == "acl" || f.dir == "nomad/structs" {
			continue
		}
		for _, d := range f.ast.Decls {
			for _, part := range declParts(d) {
				ast.Inspect(part.node, func(n ast.Node) bool {
					if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "IsManagement" {
						key := f.path + ":" + part.name
						used[key] = true
						if strings.TrimSpace(reasons[key]) == "" {
							out = append(out, problem{t.at(n.Pos()), key, "asks for a management token: let a capability decide, or say in rights.go why none can"})
						}
					}
					return true
				})
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(reasons)) {
		if !used[key] {
			out = append(out, problem{"internal/archtest/rights.go", key, key + " does not ask for management any more: remove its reason"})
		}
	}
	return out
}

// declPart is a function, or one variable, with its name.
type declPart struct {
	name string
	node ast.Node
}

func declParts(d ast.Decl) []declPart {
	if fn, ok := d.(*ast.FuncDecl); ok {
		name := fn.Name.Name
		if r := receiver(fn); r != "" {
			name = r + "." + name
		}
		return []declPart{{name, fn}}
	}
	var out []declPart
	for _, s := range d.(*ast.GenDecl).Specs {
		if v, ok := s.(*ast.ValueSpec); ok {
			out = append(out, declPart{v.Names[0].Name, v})
		}
	}
	return out
}

// checkCapabilities finds capabilities of operators that give no right: nothing outside of
// package acl asks for them.
func checkCapabilities(t *tree, reasons map[string]string) []problem {
	asked := map[string]bool{}
	for _, f := range t.files {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && !f.test {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "acl" {
					asked[s.Sel.Name] = true
				}
			}
			return true
		})
	}
	var out []problem
	for name, at := range operatorCapabilities(t) {
		excused := strings.TrimSpace(reasons[name]) != ""
		if !asked[name] && !excused {
			out = append(out, problem{at, name, fmt.Sprintf("nothing asks for acl.%s: a capability without effect must not be accepted", name)})
		}
		if asked[name] && excused {
			out = append(out, problem{at, name, fmt.Sprintf("acl.%s is asked for: remove its reason from rights.go", name)})
		}
	}
	return out
}

// operatorCapabilities returns the constants of that type with their places.
func operatorCapabilities(t *tree) map[string]string {
	out := map[string]string{}
	for _, f := range t.in("acl") {
		for _, d := range f.ast.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, s := range g.Specs {
				v, ok := s.(*ast.ValueSpec)
				if !ok || v.Type == nil || typeName(v.Type) != "OperatorCapability" {
					continue
				}
				for _, n := range v.Names {
					out[n.Name] = t.at(n.Pos())
				}
			}
		}
	}
	return out
}
