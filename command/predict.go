package command

import (
	"context"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/posener/complete"
)

// predictTimeout bounds how long a key press waits for the agent.
const predictTimeout = time.Second

// predict completes a word; the session has a short time limit and a
// connection from the environment.
type predict func(s *session, a complete.Args) []string

// bind makes a predictor for the completion library.
func (p predict) bind(opts *Options) complete.Predictor {
	return complete.PredictFunc(func(a complete.Args) []string {
		s := newSession(opts)
		s.conn.fill(opts.Getenv)
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

func namespaceNames(s *session, a complete.Args) []string {
	client, err := s.client()
	if err != nil {
		return nil
	}
	list, _, err := client.Namespaces().PrefixList(a.Last, s.query())
	return names(list, err, func(n *api.Namespace) string { return n.Name })
}

func variablePaths(s *session, a complete.Args) []string {
	client, err := s.client()
	if err != nil {
		return nil
	}
	list, _, err := client.Variables().PrefixList(a.Last, s.query())
	return names(list, err, func(v *api.VariableMetadata) string { return v.Path })
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
