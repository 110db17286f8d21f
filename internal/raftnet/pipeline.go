package raftnet

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// pipeline is raft's AppendPipeline over a connection of its own. One goroutine,
// raft's, sends; another reads the answers.
type pipeline struct {
	t    *Transport
	id   raft.ServerID
	conn *outConn
	// slots holds one token per request that is sent and not answered.
	slots   chan struct{}
	sent    chan sentPart
	done    chan raft.AppendFuture
	broken  chan struct{}
	once    sync.Once
	failure error // set before broken is closed
}

// sentPart is a frame on its way. A request that was cut has several, the last of
// which completes the future.
type sentPart struct {
	future *appendFuture
	last   bool
}

// AppendEntriesPipeline opens a pipeline to the server.
func (t *Transport) AppendEntriesPipeline(id raft.ServerID, addr raft.ServerAddress) (raft.AppendPipeline, error) {
	if t.cfg.MaxInFlight < 2 {
		return nil, raft.ErrPipelineReplicationNotSupported
	}
	if t.silent.Load() {
		return nil, errSilent
	}
	conn, err := t.conns.dial(context.Background(), t.cfg.Dial, addr)
	if err != nil {
		return nil, err
	}
	p := &pipeline{
		t: t, id: id, conn: conn,
		slots:  make(chan struct{}, t.cfg.MaxInFlight),
		sent:   make(chan sentPart, t.cfg.MaxInFlight),
		done:   make(chan raft.AppendFuture, t.cfg.MaxInFlight),
		broken: make(chan struct{}),
	}
	go p.receive()
	return p, nil
}

// AppendEntries sends the request; it blocks while MaxInFlight are unanswered.
func (p *pipeline) AppendEntries(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	f := &appendFuture{start: time.Now(), args: args, resp: resp, ready: make(chan struct{})}
	p.t.stats.appends.Add(1)
	for from := 0; ; {
		part, next, err := nextPart(args, from, p.t.cfg.MaxMessage)
		if err != nil {
			return nil, err
		}
		last := next >= len(args.Entries)
		if err := p.send(&part, sentPart{f, last}); err != nil {
			return nil, err
		}
		if last {
			return f, nil
		}
		from = next
	}
}

func (p *pipeline) send(args *raft.AppendEntriesRequest, s sentPart) error {
	select {
	case <-p.broken:
		return p.failure
	default:
	}
	select {
	case p.slots <- struct{}{}:
	case <-p.broken:
		return p.failure
	}
	if p.t.silent.Load() {
		p.abort(errSilent)
		return errSilent
	}
	if err := p.conn.send(args); err != nil {
		p.abort(err)
		return err
	}
	p.sent <- s // has room: a slot is held
	select {
	case <-p.broken:
		s.future.complete(p.failure) // receive may be gone
	default:
	}
	return nil
}

// receive completes the futures in order. After a failure nothing more reaches
// Consumer, because raft counts whatever arrives there as contact with the
// follower; raft learns of it from the next AppendEntries.
func (p *pipeline) receive() {
	var early *raft.AppendEntriesResponse // refusal of a part that was not the last
	for {
		var s sentPart
		select {
		case s = <-p.sent:
		case <-p.broken:
			p.drain()
			return
		}
		var resp raft.AppendEntriesResponse
		remote, err := p.conn.receive(kindAppend, p.t.cfg.Timeout, &resp)
		if err == nil {
			err = remote
		}
		if err != nil {
			p.abort(err)
			s.future.complete(err)
			continue
		}
		<-p.slots
		p.t.seen(p.id)
		if early == nil && !resp.Success {
			early = &resp
		}
		if !s.last {
			continue
		}
		if early != nil {
			resp, early = *early, nil
		}
		*s.future.resp = resp
		s.future.complete(nil)
		select {
		case p.done <- s.future:
		case <-p.broken:
		}
	}
}

// drain fails what was sent before the pipeline broke.
func (p *pipeline) drain() {
	for {
		select {
		case s := <-p.sent:
			s.future.complete(p.failure)
		default:
			return
		}
	}
}

func (p *pipeline) abort(err error) {
	p.once.Do(func() {
		p.failure = err
		close(p.broken)
		p.conn.Close()
	})
}

// Consumer returns the answered requests, in order. It is never closed.
func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.done }

// Close ends the connection; requests without an answer fail.
func (p *pipeline) Close() error {
	p.abort(raft.ErrPipelineShutdown)
	return nil
}

// appendFuture is completed once.
type appendFuture struct {
	start time.Time
	args  *raft.AppendEntriesRequest
	resp  *raft.AppendEntriesResponse
	ready chan struct{}
	once  sync.Once
	err   error
}

func (f *appendFuture) complete(err error) {
	f.once.Do(func() {
		f.err = err
		close(f.ready)
	})
}

// Error waits for the answer.
func (f *appendFuture) Error() error {
	<-f.ready
	return f.err
}

func (f *appendFuture) Start() time.Time                      { return f.start }
func (f *appendFuture) Request() *raft.AppendEntriesRequest   { return f.args }
func (f *appendFuture) Response() *raft.AppendEntriesResponse { return f.resp }
