package nomad_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// pages walks a list of variables to its end and returns the rows as "namespace path".
func pages(t *testing.T, n *nomadtest.Node, opts structs.QueryOptions) []string {
	t.Helper()
	var out []string
	for range 1000 {
		var reply structs.VariablesListResponse
		if err := n.RPC(context.Background(), "Variables.List", &structs.VariablesListRequest{QueryOptions: opts}, &reply); err != nil {
			t.Fatalf("%+v: %v", opts, err)
		}
		if opts.PerPage > 0 && len(reply.Data) > int(opts.PerPage) {
			t.Fatalf("a page of %d rows, asked for %d", len(reply.Data), opts.PerPage)
		}
		for _, m := range reply.Data {
			out = append(out, m.Namespace+" "+m.Path)
		}
		if opts.NextToken = reply.NextToken; opts.NextToken == "" {
			return out
		}
	}
	t.Fatalf("%+v: no end", opts)
	return nil
}

func TestPagesCoverEveryRowOnce(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		n, ctx := c.Nodes[0], context.Background()
		var all []string
		for _, ns := range []string{"alpha", "alpha-2", "default", "zulu"} {
			req := &structs.NamespaceUpsertRequest{Namespaces: []*structs.Namespace{{Name: ns}}}
			if err := n.RPC(ctx, "Namespace.UpsertNamespaces", req, &structs.GenericResponse{}); err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{"app", "app/a", "app/a/1", "app/b", "app-x", "zeta"} {
				put := &structs.VariablesApplyRequest{Op: structs.VarOpSet, Var: &structs.VariableDecrypted{
					VariableMetadata: structs.VariableMetadata{Namespace: ns, Path: path}, Items: structs.VariableItems{"v": "1"},
				}}
				if err := n.RPC(ctx, "Variables.Apply", put, &structs.VariablesApplyResponse{}); err != nil {
					t.Fatal(err)
				}
				all = append(all, ns+" "+path)
			}
		}
		slices.SortFunc(all, func(a, b string) int {
			an, ap, _ := strings.Cut(a, " ")
			bn, bp, _ := strings.Cut(b, " ")
			if an != bn {
				return strings.Compare(an, bn)
			}
			return strings.Compare(ap, bp)
		})
		for name, tc := range map[string]struct {
			opts structs.QueryOptions
			keep func(ns, path string) bool
		}{
			"one namespace":          {structs.QueryOptions{Namespace: "alpha"}, func(ns, _ string) bool { return ns == "alpha" }},
			"everywhere":             {structs.QueryOptions{Namespace: "*"}, func(string, string) bool { return true }},
			"prefix":                 {structs.QueryOptions{Prefix: "app/"}, func(ns, p string) bool { return ns == "default" && strings.HasPrefix(p, "app/") }},
			"prefix everywhere":      {structs.QueryOptions{Namespace: "*", Prefix: "app/"}, func(_, p string) bool { return strings.HasPrefix(p, "app/") }},
			"filter everywhere":      {structs.QueryOptions{Namespace: "*", Filter: `Path matches "^app/[ab]$"`}, func(_, p string) bool { return p == "app/a" || p == "app/b" }},
			"nothing there":          {structs.QueryOptions{Namespace: "*", Prefix: "none"}, func(string, string) bool { return false }},
			"namespace nobody made":  {structs.QueryOptions{Namespace: "absent"}, func(string, string) bool { return false }},
			"filter and prefix here": {structs.QueryOptions{Namespace: "zulu", Prefix: "app", Filter: `Namespace == "zulu" and Path != "app"`}, func(ns, p string) bool { return ns == "zulu" && p != "app" && p != "zeta" }},
		} {
			var want []string
			for _, row := range all {
				if ns, path, _ := strings.Cut(row, " "); tc.keep(ns, path) {
					want = append(want, row)
				}
			}
			for _, reverse := range []bool{false, true} {
				for _, per := range []int32{0, 1, 2, 5, 100} {
					opts := tc.opts
					opts.PerPage, opts.Reverse = per, reverse
					if got := pages(t, n, opts); !slices.Equal(got, want) {
						t.Errorf("%s, %d per page, reverse %v:\n got %q\nwant %q", name, per, reverse, got, want)
					}
				}
				slices.Reverse(want)
			}
		}
	})
}

func TestUnusableListParametersAreInvalid(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		mustPut(t, c.Nodes[0], "app/db", "1")
		for _, opts := range []structs.QueryOptions{
			{Filter: `Path ==`}, {Filter: `Nothing == "x"`}, {Filter: `ModifyIndex == "abc"`}, {Filter: `Path matches "("`},
			{Filter: `Lock.TTL == "x"`}, {Filter: strings.Repeat("(", 5000)}, {Filter: fmt.Sprintf("Path == %q", strings.Repeat("x", 20<<10))},
			{PerPage: -1}, {NextToken: "no-dot"},
		} {
			err := c.Nodes[0].RPC(context.Background(), "Variables.List", &structs.VariablesListRequest{QueryOptions: opts}, &structs.VariablesListResponse{})
			if !errors.Is(err, errs.Invalid) {
				t.Errorf("filter %.40q per page %d token %q: %v, want invalid", opts.Filter, opts.PerPage, opts.NextToken, err)
			}
		}
	})
}
