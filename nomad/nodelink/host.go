package nodelink

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/mux"
)

// HostConfig says how a server takes links.
type HostConfig struct {
	// ServerID, ServerName and Region are the server's.
	ServerID, ServerName, Region string
	// Admit decides on an agent whose protocol and region are right; nil lets it in.
	Admit func(ctx context.Context, h *Hello) *Refusal
	// PingInterval and MaxAge are what welcomes say; the age has jitter of a quarter.
	PingInterval, MaxAge time.Duration
	// MaxMessage is the largest reply in bytes.
	MaxMessage int
	// Links are told of every link.
	Links *Links
	// Logger may be nil.
	Logger hclog.Logger
}

// The defaults of HostConfig.
const (
	DefaultPingInterval = 10 * time.Second
	DefaultMaxAge       = 2 * time.Hour
)

// Host is the accepting side of links.
type Host struct {
	cfg HostConfig
	log hclog.Logger

	mu      sync.Mutex
	leaving bool // guarded by mu
}

// NewHost returns a host. Zero values of cfg mean the defaults.
func NewHost(cfg HostConfig) *Host {
	if cfg.PingInterval <= 0 {
		cfg.PingInterval = DefaultPingInterval
	}
	if cfg.MaxAge <= 0 {
		cfg.MaxAge = DefaultMaxAge
	}
	if cfg.MaxMessage <= 0 {
		cfg.MaxMessage = DefaultMaxMessage
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	return &Host{cfg: cfg, log: cfg.Logger}
}

// leaveRetry is when an agent may come back to a server that stops.
const leaveRetry = 10 * time.Second

var errLeaving = &Refusal{Reason: Leaving, Help: "this server is about to stop: dial another one", RetryAfter: leaveRetry}

// ErrLeaving is the refusal of a server that is about to stop.
func ErrLeaving() *Refusal { return errLeaving }

// Leave takes no more links and lets the agents go that are there.
func (h *Host) Leave() {
	h.mu.Lock()
	h.leaving = true
	h.mu.Unlock()
	var telling sync.WaitGroup // an agent that is gone is waited for
	for _, l := range h.cfg.Links.All() {
		telling.Go(func() { l.Close(errLeaving) })
	}
	telling.Wait()
}

// Leaving reports whether the server takes no more links.
func (h *Host) Leaving() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.leaving
}

// CheckVersion returns why an agent that speaks the versions from oldest to newest
// cannot be taken, nil if it can.
func CheckVersion(oldest, newest int) *Refusal {
	switch {
	case newest < OldestVersion:
		return &Refusal{Reason: Retired, RetryAfter: retiredRetry, Help: fmt.Sprintf(
			"version %d of the link protocol is no longer served, %d to %d are: upgrade the agent of the node", newest, OldestVersion, NewestVersion)}
	case oldest > NewestVersion:
		return &Refusal{Reason: TooNew, RetryAfter: retiredRetry, Help: fmt.Sprintf(
			"version %d of the link protocol is not served yet, %d to %d are: upgrade the servers before the agents", oldest, OldestVersion, NewestVersion)}
	}
	return nil
}

// retiredRetry is when an agent of the wrong version may ask again.
const retiredRetry = time.Minute

// Serve shakes hands with the agent that dialled a session and keeps the link
// until it ends. It owns the session.
func (h *Host) Serve(ctx context.Context, s mux.Session, from From) {
	defer s.Close()
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	l, err := h.greet(ctx, s, from)
	if err != nil {
		h.log.Debug("no link", "remote", from.Remote, "error", err)
		return
	}
	defer l.control.Close()
	defer h.cfg.Links.remove(l)
	h.log.Info("link up", "node_id", l.hello.NodeID, "remote", from.Remote, "transport", from.Transport, "protocol", l.welcome.Protocol, "epoch", l.hello.Epoch)
	done, cancel := context.WithCancel(ctx)
	var pinging sync.WaitGroup
	pinging.Go(func() { ping(done, l.control, l.welcome.PingInterval) })
	pinging.Go(func() { l.age(done) })
	err = l.listen()
	cancel()
	_ = s.Close()
	pinging.Wait()
	h.log.Info("link down", "node_id", l.hello.NodeID, "remote", from.Remote, "reason", err)
}

// greet is the server's part of the handshake.
func (h *Host) greet(ctx context.Context, s mux.Session, from From) (*Link, error) {
	expired := time.AfterFunc(handshakeTimeout, func() { _ = s.Close() })
	defer expired.Stop()
	control, err := s.Accept()
	if err != nil {
		return nil, fmt.Errorf("wait for the control stream: %w", err)
	}
	if err := control.SetReadDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, err
	}
	t, b, err := readFrame(control, maxControl)
	if err != nil {
		return nil, fmt.Errorf("wait for the hello: %w", err)
	}
	l := &Link{from: from, since: time.Now(), session: s, control: control}
	why := h.judge(ctx, t, b, &l.hello)
	if why == nil {
		l.welcome = h.welcome(&l.hello)
		l.adapter = adapters[l.welcome.Protocol]
		why = h.cfg.Links.add(l)
	}
	if why == nil && h.Leaving() { // Leave may have been through the links before this one
		h.cfg.Links.remove(l)
		why = errLeaving
	}
	if why != nil {
		h.refuse(control, why)
		return nil, why
	}
	if err := writeJSON(control, frameWelcome, &l.welcome, handshakeTimeout); err != nil {
		h.cfg.Links.remove(l)
		return nil, fmt.Errorf("say welcome: %w", err)
	}
	return l, nil
}

// judge reads a hello and decides on it.
func (h *Host) judge(ctx context.Context, t frameType, payload []byte, hello *Hello) *Refusal {
	if t != frameHello {
		return &Refusal{Reason: Malformed, Help: "an agent says hello first"}
	}
	if err := decode(payload, hello); err != nil {
		return &Refusal{Reason: Malformed, Help: "the hello cannot be decoded: " + err.Error()}
	}
	if why := CheckVersion(hello.Oldest, hello.Protocol); why != nil {
		return why
	}
	if err := hello.Validate(); err != nil {
		return &Refusal{Reason: Malformed, Help: err.Error()}
	}
	switch {
	case h.Leaving():
		return errLeaving
	case hello.Region != h.cfg.Region:
		return &Refusal{Reason: WrongRegion, Help: fmt.Sprintf("this server is of the region %q: dial one of %q", h.cfg.Region, hello.Region)}
	case h.cfg.Admit == nil:
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	return h.cfg.Admit(ctx, hello)
}

func (h *Host) welcome(hello *Hello) Welcome {
	age := h.cfg.MaxAge
	return Welcome{Protocol: min(hello.Protocol, NewestVersion), SessionID: uuid.NewString(), ServerID: h.cfg.ServerID, ServerName: h.cfg.ServerName,
		PingInterval: h.cfg.PingInterval, MaxAge: age - age/4 + rand.N(age/2), MaxMessage: h.cfg.MaxMessage}
}

// refuse tells an agent why, and waits a little for it to hang up, so that it
// reads it.
func (h *Host) refuse(control net.Conn, why *Refusal) {
	if err := writeJSON(control, frameRefusal, why, leaveTimeout); err != nil {
		return
	}
	if err := control.SetReadDeadline(time.Now().Add(leaveTimeout)); err == nil {
		_, _, _ = readFrame(control, maxControl)
	}
}

// errAgentLeft is the end of a link that the agent ended.
var errAgentLeft = errors.New("the agent left")

// listen reads the control stream until the link ends, and says why.
func (l *Link) listen() error {
	for {
		err := l.control.SetReadDeadline(time.Now().Add(silences * l.welcome.PingInterval))
		var t frameType
		if err == nil {
			t, _, err = readFrame(l.control, maxControl)
		}
		if err == nil && t == framePing {
			continue
		}
		if t == frameLeave {
			err = errAgentLeft
		} else if err == nil {
			err = garbled("frame %d on the control stream", t)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.stopLocked(err)
		return l.reason
	}
}

// idlePoll is how often an old link is looked at for a pause between calls, and
// ageGrace how long that is done.
const (
	idlePoll = time.Second
	ageGrace = 10 * time.Minute
)

var errMaxAge = &Refusal{Reason: MaxAge, Help: "the link is old: dial again, to any server"}

// age ends the link between calls once it is old.
func (l *Link) age(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(l.welcome.MaxAge):
	}
	for until := time.Now().Add(ageGrace); time.Now().Before(until); {
		if l.closeIdle(errMaxAge) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(idlePoll):
		}
	}
	l.Close(errMaxAge)
}
