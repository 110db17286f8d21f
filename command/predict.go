package command

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/hashicorp/nomad/api/contexts"
	"github.com/posener/complete"
)

// predictTimeout bounds how long a key press waits for the agent.
const predictTimeout = time.Second

// predict completes a word; the session has a short time limit and the connection of
// the line so far and of the environment.
type predict func(s *session, a complete.Args) []string

// bind makes a predictor for the completion library.
func (r *runner) bind(p predict) complete.Predictor {
	return complete.PredictFunc(func(a complete.Args) []string {
		s, f := r.prepare()
		f.take(a.Completed, r.act.about().child)
		s.conn.fill(r.opts.Getenv)
		ctx, cancel := context.WithTimeout(s.ctx, predictTimeout)
		defer cancel()
		s.ctx = ctx
		return p(s, a)
	})
}

func anyFile(_ *session, a complete.Args) []string {
	return complete.PredictFiles("*").Predict(a)
}

func oneOf(values ...string) predict {
	return func(*session, complete.Args) []string { return values }
}

// either joins what several predictors know.
func either(ps ...predict) predict {
	return func(s *session, a complete.Args) []string {
		var out []string
		for _, p := range ps {
			out = append(out, p(s, a)...)
		}
		return out
	}
}

// searched completes what a search finds of a kind, or of all. Where that is not all
// that there is, list is asked: a shell must not take the beginning that some have in
// common for that of all. So it is where an agent cannot search.
func searched(kind contexts.Context, list predict) predict {
	return func(s *session, a complete.Args) []string {
		client, err := s.client()
		if err != nil {
			return nil
		}
		found, _, err := client.Search().PrefixSearch(a.Last, kind, s.query())
		if err != nil {
			return list(s, a)
		}
		var out []string
		for _, c := range slices.Sorted(maps.Keys(found.Matches)) {
			if found.Truncations[c] {
				return list(s, a)
			}
			out = append(out, found.Matches[c]...)
		}
		return out
	}
}

// What is searched for.
var (
	namespaceNames = searched(contexts.Namespaces, listNamespaces)
	variablePaths  = searched(contexts.Variables, listVariables)
	nodeIDs        = searched(contexts.Nodes, listNodes)
	nodePoolNames  = searched(contexts.NodePools, listNodePools)
	anyObject      = searched(contexts.All, either(listNamespaces, listVariables, listNodes, listNodePools))
)

func listNamespaces(s *session, a complete.Args) []string {
	client, err := s.client()
	if err != nil {
		return nil
	}
	list, _, err := client.Namespaces().PrefixList(a.Last, s.query())
	return names(list, err, func(n *api.Namespace) string { return n.Name })
}

func listVariables(s *session, a complete.Args) []string {
	client, err := s.client()
	if err != nil {
		return nil
	}
	list, _, err := client.Variables().PrefixList(a.Last, s.query())
	return names(list, err, func(v *api.VariableMetadata) string { return v.Path })
}

func listNodes(s *session, a complete.Args) []string {
	client, err := s.client()
	if err != nil {
		return nil
	}
	q := s.query()
	q.Prefix = a.Last
	list, _, err := client.Nodes().List(q)
	return names(list, err, func(n *api.NodeListStub) string { return n.ID })
}

func listNodePools(s *session, a complete.Args) []string {
	client, err := s.client()
	if err != nil {
		return nil
	}
	list, _, err := client.NodePools().PrefixList(a.Last, s.query())
	return names(list, err, func(p *api.NodePool) string { return p.Name })
}

func serverNames(s *session, _ complete.Args) []string {
	client, err := s.client()
	if err != nil {
		return nil
	}
	members, err := s.members(client)
	return names(members, err, func(m *api.AgentMember) string { return m.Name })
}

func peerIDs(s *session, _ complete.Args) []string {
	return peers(s, func(p *api.RaftServer) string { return p.ID })
}

func peerAddresses(s *session, _ complete.Args) []string {
	return peers(s, func(p *api.RaftServer) string { return p.Address })
}

func peers(s *session, name func(*api.RaftServer) string) []string {
	client, err := s.client()
	if err != nil {
		return nil
	}
	q := s.query()
	q.AllowStale = true
	conf, err := client.Operator().RaftGetConfiguration(q)
	if err != nil {
		return nil
	}
	return names(conf.Servers, nil, name)
}

func names[T any](list []*T, err error, name func(*T) string) []string {
	if err != nil {
		return nil
	}
	out := make([]string, 0, len(list))
	for _, v := range list {
		if v != nil {
			out = append(out, name(v))
		}
	}
	return out
}
