package nomad

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hashicorp/serf/serf"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// warmCheck is how often the server looks whether it keeps connections to the
	// right servers.
	warmCheck = 5 * time.Second
	// maxWarmRegions bounds the other regions to which a connection is kept.
	maxWarmRegions = 64
)

// runWarm keeps connections to those servers to which calls may go: to all of this
// region, each of which may lead next, and to one of each other region.
func (s *Server) runWarm(ctx context.Context) {
	chosen := map[string]string{} // by region, the address
	for {
		s.pool.Keep(s.worthKeeping(chosen))
		select {
		case <-ctx.Done():
			return
		case <-s.draining.Done(): // what is there suffices
			return
		case <-s.gossiped:
		case <-time.After(warmCheck/2 + rand.N(warmCheck)):
		}
	}
}

// worthKeeping returns the addresses to keep connections to, and remembers in
// chosen whom it took in other regions: for as long as that server does well.
func (s *Server) worthKeeping(chosen map[string]string) []string {
	var out []string
	for _, peer := range s.router.InRegion(s.config.Region) {
		if peer.ID != s.nodeID && peer.Status == serf.StatusAlive {
			out = append(out, peer.Addr)
		}
	}
	regions := s.router.Regions()
	for region := range chosen {
		if !slices.Contains(regions, region) {
			delete(chosen, region)
		}
	}
	for _, region := range regions[:min(len(regions), maxWarmRegions)] {
		if region == s.config.Region {
			continue
		}
		if s.router.Good(chosen[region]) || s.chooseIn(region, chosen) {
			out = append(out, chosen[region])
		}
	}
	return out
}

func (s *Server) chooseIn(region string, chosen map[string]string) bool {
	peer, ok := s.router.Pick(region)
	if ok {
		chosen[region] = peer.Addr
	} else {
		delete(chosen, region)
	}
	return ok
}

// pinged tells the router how the connection to a server does.
func (s *Server) pinged(addr string, err error) {
	if err != nil {
		s.router.MarkFailed(addr)
	} else {
		s.router.MarkOK(addr)
	}
}

var (
	descPoolConns   = prometheus.NewDesc("cairn_pool_connections", "Connections to other servers.", nil, nil)
	descPoolCalls   = prometheus.NewDesc("cairn_pool_calls", "Calls under way to other servers.", nil, nil)
	descPoolCold    = prometheus.NewDesc("cairn_pool_cold_servers", "Servers to which a connection is to be kept and there is none.", nil, nil)
	descPoolDials   = prometheus.NewDesc("cairn_pool_dials_total", "Connections to other servers that were begun.", nil, nil)
	descPoolFailed  = prometheus.NewDesc("cairn_pool_dial_failures_total", "Connections to other servers that could not be made.", nil, nil)
	descPoolAvoided = prometheus.NewDesc("cairn_pool_avoided_servers", "Servers that get no calls for a while because they could not be reached.", nil, nil)
)

// describePool sends the descriptions of the metrics of outgoing connections.
func describePool(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descPoolConns, descPoolCalls, descPoolCold, descPoolDials, descPoolFailed, descPoolAvoided} {
		ch <- d
	}
}

// collectPool sends the values of the metrics of outgoing connections.
func (s *Server) collectPool(ch chan<- prometheus.Metric) {
	st := s.pool.Stats()
	for d, n := range map[*prometheus.Desc]int{descPoolConns: st.Conns, descPoolCalls: st.Calls, descPoolCold: st.Cold, descPoolAvoided: s.router.Avoided()} {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n))
	}
	ch <- prometheus.MustNewConstMetric(descPoolDials, prometheus.CounterValue, float64(st.Dials))
	ch <- prometheus.MustNewConstMetric(descPoolFailed, prometheus.CounterValue, float64(st.Failed))
}
