package mux

import (
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Reason says why a connection or stream was refused.
type Reason int

// The reasons.
const (
	// RefusedClientLimit: the address has too many connections.
	RefusedClientLimit Reason = iota
	// RefusedTotalLimit: the server has too many connections.
	RefusedTotalLimit
	// RefusedSilent: no first byte, or nothing after it, in time.
	RefusedSilent
	// RefusedUnknown: a first byte that stands for no protocol that is served here.
	RefusedUnknown
	// RefusedTLS: the handshake failed, TLS is off, or it came within TLS.
	RefusedTLS
	// RefusedPlain: a connection in clear where TLS is required.
	RefusedPlain
	// RefusedStreams: the session has too many streams.
	RefusedStreams
	// RefusedRole: the certificate is not one that may use the protocol.
	RefusedRole
	reasons
)

// String names r for logs and metrics.
func (r Reason) String() string {
	switch r {
	case RefusedClientLimit:
		return "client_limit"
	case RefusedTotalLimit:
		return "total_limit"
	case RefusedSilent:
		return "silent"
	case RefusedUnknown:
		return "unknown_byte"
	case RefusedTLS:
		return "tls"
	case RefusedPlain:
		return "plaintext"
	case RefusedStreams:
		return "stream_limit"
	case RefusedRole:
		return "role"
	}
	return "other"
}

// Stats are counters since New, except for the open ones, which are gauges.
type Stats struct {
	Accepted uint64
	// Refused counts connections and streams by reason; every reason is there.
	Refused     map[Reason]uint64
	OpenConns   int64
	OpenStreams int64
}

type counters struct {
	accepted    atomic.Uint64
	refused     [reasons]atomic.Uint64
	logged      [reasons]atomic.Int64 // when each reason was last logged, in Unix nanoseconds
	openConns   atomic.Int64
	openStreams atomic.Int64
}

// Stats returns the counters. They are read one by one, not at one instant.
func (m *Mux) Stats() Stats {
	s := Stats{
		Accepted:    m.counters.accepted.Load(),
		Refused:     make(map[Reason]uint64, reasons),
		OpenConns:   m.counters.openConns.Load(),
		OpenStreams: m.counters.openStreams.Load(),
	}
	for r := range reasons {
		s.Refused[r] = m.counters.refused[r].Load()
	}
	return s
}

// refused counts a refusal and logs it, at most once per second and reason.
func (m *Mux) refused(r Reason, info Info, err error) {
	total := m.counters.refused[r].Add(1)
	now, last := time.Now().UnixNano(), m.counters.logged[r].Load()
	if now-last < int64(time.Second) || !m.counters.logged[r].CompareAndSwap(last, now) {
		return
	}
	level := hclog.Warn
	if r == RefusedSilent {
		level = hclog.Debug // load balancers ask for health that way
	}
	m.log.Log(level, "connection refused", "reason", r, "remote", info.Remote, "protocol", info.Protocol, "multiplexed", info.Multiplexed,
		"tls", info.TLS != nil, "refused_so_far", total, "error", err)
}
