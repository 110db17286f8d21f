package mux

import (
	"container/list"
	"sync"
)

// class is the budget that a connection counts against.
type class int

const (
	classPending class = iota // no first byte yet
	classRPC                  // RPC and sessions
	classStream               // streaming RPC; also counts against classRPC
	classRaft
	classes
)

// reservedForRPC is how many of a client's connections streaming RPC may not
// take, as in the public limits of the RPC port.
const reservedForRPC = 20

// limiter counts connections by client and class. A client that is at its
// bound of silent connections loses the oldest of them for each new one, so
// that holding silent connections keeps nobody else at that address out.
type limiter struct {
	perClient, total int

	mu      sync.Mutex
	conns   map[*trackedConn]struct{}
	clients map[string]*client
	counts  [classes]int
	pending *list.List // *trackedConn, oldest first
}

type client struct {
	counts  [classes]int
	pending *list.List // *trackedConn, oldest first
}

func newLimiter(perClient, total int) *limiter {
	return &limiter{
		perClient: perClient,
		total:     total,
		conns:     make(map[*trackedConn]struct{}),
		clients:   make(map[string]*client),
		pending:   list.New(),
	}
}

// add registers c as pending. It returns the connection to close in its stead,
// nil for none, and why.
func (l *limiter) add(c *trackedConn) (evicted *trackedConn, why Reason) {
	l.mu.Lock()
	defer l.mu.Unlock()
	cl := l.clients[c.host]
	if cl == nil {
		cl = &client{pending: list.New()}
		l.clients[c.host] = cl
	}
	switch {
	case l.perClient > 0 && cl.pending.Len() >= l.perClient:
		evicted, why = cl.pending.Front().Value.(*trackedConn), RefusedClientLimit
	case l.total > 0 && l.pending.Len() >= l.total:
		evicted, why = l.pending.Front().Value.(*trackedConn), RefusedTotalLimit
	}
	if evicted != nil {
		l.forgetLocked(evicted)
		if l.clients[c.host] == nil { // the evicted one was its last
			l.clients[c.host] = cl
		}
	}
	l.conns[c] = struct{}{}
	c.class = classPending
	c.inClient, c.inAll = cl.pending.PushBack(c), l.pending.PushBack(c)
	cl.counts[classPending]++
	l.counts[classPending]++
	return evicted, why
}

// classify moves c from pending to a class, unless that class is full.
func (l *limiter) classify(c *trackedConn, to class) (why Reason, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	cl := l.clients[c.host]
	if _, held := l.conns[c]; !held {
		return RefusedClientLimit, false // gave way meanwhile
	}
	if l.perClient > 0 && !fits(cl.counts, to, l.perClient) {
		return RefusedClientLimit, false
	}
	if l.total > 0 && !fits(l.counts, to, l.total) {
		return RefusedTotalLimit, false
	}
	l.uncountLocked(c, cl)
	c.class = to
	cl.counts[to]++
	l.counts[to]++
	return 0, true
}

// fits reports whether one more connection of a class stays within limit.
func fits(counts [classes]int, to class, limit int) bool {
	switch to {
	case classRaft:
		return counts[classRaft] < limit
	case classStream:
		if counts[classStream] >= max(limit-reservedForRPC, (limit+1)/2) {
			return false
		}
	}
	return counts[classRPC]+counts[classStream] < limit
}

// holds reports whether c counts, so did not give way to another.
func (l *limiter) holds(c *trackedConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, held := l.conns[c]
	return held
}

// remove forgets c; it may be called more than once.
func (l *limiter) remove(c *trackedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forgetLocked(c)
}

// forgetLocked needs mu.
func (l *limiter) forgetLocked(c *trackedConn) {
	if _, open := l.conns[c]; !open {
		return
	}
	delete(l.conns, c)
	cl := l.clients[c.host]
	l.uncountLocked(c, cl)
	if cl.counts == [classes]int{} {
		delete(l.clients, c.host)
	}
}

// uncountLocked needs mu.
func (l *limiter) uncountLocked(c *trackedConn, cl *client) {
	cl.counts[c.class]--
	l.counts[c.class]--
	if c.inAll != nil {
		cl.pending.Remove(c.inClient)
		l.pending.Remove(c.inAll)
		c.inClient, c.inAll = nil, nil
	}
}

// closeAll closes every connection.
func (l *limiter) closeAll() {
	l.mu.Lock()
	doomed := make([]*trackedConn, 0, len(l.conns))
	for c := range l.conns {
		doomed = append(doomed, c)
	}
	l.mu.Unlock()
	for _, c := range doomed {
		c.Close()
	}
}
