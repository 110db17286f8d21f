package nodelink

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/mux"
)

// handshakeTimeout bounds hello and welcome, and the wait for a call's first frame.
const handshakeTimeout = 10 * time.Second

// controlTimeout bounds a write on the control stream.
const controlTimeout = 10 * time.Second

// leaveTimeout bounds saying that the agent leaves.
const leaveTimeout = time.Second

// AgentConfig says what an agent serves.
type AgentConfig struct {
	// Hello returns what to say on the next link: the epoch and the secret are those
	// of the last registration. Protocol, Oldest, Methods and MaxMessage are filled in.
	Hello func() Hello
	// Handlers are the methods.
	Handlers Handlers
	// Limits bound what runs at once; the zero value means DefaultLimits.
	Limits Limits
	// Logger may be nil.
	Logger hclog.Logger
}

// Agent is the serving half of the links of one node. Its limits hold over all of
// its links.
type Agent struct {
	cfg     AgentConfig
	methods map[string]int
	gates   map[Class]*gate
	log     hclog.Logger
}

// NewAgent returns an agent. A handler whose name is not in Methods is an error.
func NewAgent(cfg AgentConfig) (*Agent, error) {
	if cfg.Limits == (Limits{}) {
		cfg.Limits = DefaultLimits()
	}
	methods, err := cfg.Handlers.revisions()
	if err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg, methods: methods, log: cfg.Logger, gates: map[Class]*gate{
		Read: newGate(Read, cfg.Limits.Read), Write: newGate(Write, cfg.Limits.Write), Stream: newGate(Stream, cfg.Limits.Stream),
	}}
	if a.log == nil {
		a.log = hclog.NewNullLogger()
	}
	return a, nil
}

// BusyRefusals is how many calls were told to come back, by class.
func (a *Agent) BusyRefusals() map[Class]uint64 {
	out := make(map[Class]uint64, len(a.gates))
	for class, g := range a.gates {
		out[class] = g.refused.Load()
	}
	return out
}

// Serve introduces the agent on a session that was dialled and serves the calls of
// the server until the link ends, which the error explains: a *Refusal when the
// server did not take the agent or let it go. It owns the session, and returns
// when no call runs any more. welcomed, which may be nil, is called once the
// server has taken the agent.
func (a *Agent) Serve(ctx context.Context, s mux.Session, welcomed func(Welcome)) error {
	defer s.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	control, w, err := a.introduce(ctx, s)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() {
		_ = writeJSON(control, frameLeave, struct{}{}, leaveTimeout)
		_ = s.Close()
	})
	defer stop()
	if welcomed != nil {
		welcomed(*w)
	}
	var running sync.WaitGroup
	running.Go(func() { a.accept(ctx, s, &running) })
	running.Go(func() { ping(ctx, control, w.PingInterval) })
	err = a.listen(control, w.PingInterval)
	if outer := context.Cause(ctx); outer != nil {
		err = outer
	}
	stop()
	cancel(err)
	_ = s.Close()
	running.Wait()
	return err
}

// introduce says hello and waits for the welcome.
func (a *Agent) introduce(ctx context.Context, s mux.Session) (net.Conn, *Welcome, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	conn, err := s.Open(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("open the control stream: %w", err)
	}
	h := a.cfg.Hello()
	h.Protocol, h.Oldest, h.Methods, h.MaxMessage = NewestVersion, NewestVersion, a.methods, a.cfg.Limits.MaxMessage
	w, err := greet(conn, &h)
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return conn, w, nil
}

// greet is the agent's part of the handshake.
func greet(conn net.Conn, h *Hello) (*Welcome, error) {
	if err := writeJSON(conn, frameHello, h, handshakeTimeout); err != nil {
		return nil, fmt.Errorf("say hello: %w", err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, err
	}
	t, b, err := readFrame(conn, maxControl)
	if err != nil {
		return nil, fmt.Errorf("wait for the welcome: %w", err)
	}
	switch t {
	case frameWelcome:
		w := new(Welcome)
		if err := decode(b, w); err != nil {
			return nil, err
		}
		if w.Protocol < h.Oldest || w.Protocol > h.Protocol || w.PingInterval <= 0 {
			return nil, garbled("welcome to protocol %d with a ping every %s", w.Protocol, w.PingInterval)
		}
		return w, nil
	case frameRefusal:
		return nil, refusalOf(b)
	}
	return nil, garbled("frame %d instead of a welcome", t)
}

func refusalOf(b []byte) error {
	r := new(Refusal)
	if err := decode(b, r); err != nil {
		return err
	}
	return r
}

// silences is how many ping intervals without a word end a link.
const silences = 3

// listen reads the control stream until the server lets the agent go or falls silent.
func (a *Agent) listen(control net.Conn, interval time.Duration) error {
	for {
		if err := control.SetReadDeadline(time.Now().Add(silences * interval)); err != nil {
			return fmt.Errorf("link lost: %w", err)
		}
		t, b, err := readFrame(control, maxControl)
		switch {
		case err != nil:
			return fmt.Errorf("link lost: %w", err)
		case t == frameRefusal:
			return refusalOf(b)
		}
	}
}

// ping tells the other side that this one is there, until ctx ends or it fails;
// then the other side's silence or the reader ends the link.
func ping(ctx context.Context, control net.Conn, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := control.SetWriteDeadline(time.Now().Add(controlTimeout)); err != nil {
			return
		}
		if err := writeFrame(control, framePing, nil); err != nil {
			return
		}
	}
}

// accept serves the streams that the server opens until the session ends.
func (a *Agent) accept(ctx context.Context, s mux.Session, running *sync.WaitGroup) {
	for {
		conn, err := s.Accept()
		if err == nil {
			running.Go(func() { a.serve(ctx, conn) })
			continue
		}
		select {
		case <-s.Done():
			return
		default:
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
	}
}
