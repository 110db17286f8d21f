package wire

import (
	"cmp"
	"slices"
)

// Peer is who is connected to a Server at present.
type Peer struct {
	// Remote is the address, Server is true when the peer proved to be a server.
	Remote string
	Server bool
	// Conns are the connections, or the streams of one, and Calls those that run or wait on them.
	Conns, Calls int
}

// Peers returns who is connected, by address.
func (s *Server) Peers() []Peer {
	s.mu.Lock()
	conns := make([]*serverConn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	byRemote := map[string]*Peer{}
	for _, c := range conns {
		remote := ""
		if c.id.Remote != nil {
			remote = c.id.Remote.String()
		}
		p := byRemote[remote]
		if p == nil {
			p = &Peer{Remote: remote}
			byRemote[remote] = p
		}
		p.Server = p.Server || c.id.Server
		p.Conns++
		p.Calls += c.calling()
	}
	out := make([]Peer, 0, len(byRemote))
	for _, p := range byRemote {
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b Peer) int { return cmp.Compare(a.Remote, b.Remote) })
	return out
}

// calling returns how many calls run or wait.
func (c *serverConn) calling() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// keep notes a connection until the function that it returns is called.
func (s *Server) keep(c *serverConn) (forget func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, c)
	}
}
