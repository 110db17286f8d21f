package nomad

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/grpcport"
	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/wire"
)

// setupGRPC answers gRPC tools on the server port.
func (s *Server) setupGRPC() {
	s.grpc = grpcport.New(s.portStatus, s.Ready)
	s.mux.Handle(mux.ProtoGRPC, func(ctx context.Context, conn net.Conn, _ mux.Info) { s.grpc.ServeConn(ctx, conn) })
}

// portStatus is what the server tells everyone who may connect.
func (s *Server) portStatus() grpcport.Status {
	return grpcport.Status{
		Region: s.config.Region, Datacenter: s.config.Datacenter, Node: s.config.NodeName, NodeID: s.nodeID,
		Version: Version, Leader: s.leaders.current().addr, IsLeader: s.IsLeader(), Ready: s.Ready() == nil,
		StateIndex: s.state.LatestIndex(),
	}
}

// A refusal is explained within explainTimeout, and may be over after retryRefused.
const (
	explainTimeout = 2 * time.Second
	retryRefused   = time.Second
)

// explainRefusal answers the calls of a connection or stream that a limit refuses
// with the reason, and ends it.
func (s *Server) explainRefusal(ctx context.Context, conn net.Conn, info mux.Info, why mux.Reason) {
	e := &errs.Error{Code: errs.Busy, RetryAfter: retryRefused, Executed: errs.ExecutedNo}
	switch why {
	case mux.RefusedClientLimit:
		e.Msg = fmt.Sprintf("this address has %d connections to the server port: share them among calls, or raise limits.rpc_max_conns_per_client", s.config.RPCMaxConnsPerClient)
	case mux.RefusedStreams:
		e.Msg = "too many streams are open: close some, or make several calls on one"
	default:
		e.Msg = "this server has too many connections: ask another one"
	}
	ctx, cancel := context.WithTimeout(ctx, explainTimeout)
	defer cancel()
	limits := wire.Limits{MaxInFlight: 1, IdleTimeout: explainTimeout, HeaderTimeout: explainTimeout, BodyTimeout: explainTimeout, WriteTimeout: explainTimeout}
	wire.NewServer(func(context.Context, *wire.Call) (any, error) { return nil, e }, limits, nil).ServeConn(ctx, conn, s.identity(info))
}

var (
	descPortRefused = prometheus.NewDesc("cairn_port_refused_total", "Connections and streams that the server port refused, by reason.", []string{"reason"}, nil)
	descPortConns   = prometheus.NewDesc("cairn_port_connections", "Open connections of the server port.", nil, nil)
	descPortStreams = prometheus.NewDesc("cairn_port_streams", "Open streams of the sessions on the server port.", nil, nil)
	descPortTaken   = prometheus.NewDesc("cairn_port_accepted_total", "Connections that the server port accepted.", nil, nil)
)

// describePort sends the descriptions of the metrics of the server port.
func describePort(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descPortRefused, descPortConns, descPortStreams, descPortTaken} {
		ch <- d
	}
}

// collectPort sends the values of the metrics of the server port.
func (s *Server) collectPort(ch chan<- prometheus.Metric) {
	st := s.mux.Stats()
	for why, n := range st.Refused {
		ch <- prometheus.MustNewConstMetric(descPortRefused, prometheus.CounterValue, float64(n), why.String())
	}
	ch <- prometheus.MustNewConstMetric(descPortTaken, prometheus.CounterValue, float64(st.Accepted))
	ch <- prometheus.MustNewConstMetric(descPortConns, prometheus.GaugeValue, float64(st.OpenConns))
	ch <- prometheus.MustNewConstMetric(descPortStreams, prometheus.GaugeValue, float64(st.OpenStreams))
}
