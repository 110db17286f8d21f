package nomad

import "github.com/prometheus/client_golang/prometheus"

var (
	descEventSubscribers = prometheus.NewDesc("cairn_event_subscribers", "Streams of events that this server feeds.", nil, nil)
	descEventsPublished  = prometheus.NewDesc("cairn_events_total", "Events of the changes that this server applied.", nil, nil)
	descEventsLost       = prometheus.NewDesc("cairn_event_subscribers_lost_total", "Streams that ended because their reader fell behind.", nil, nil)
	descEventOldest      = prometheus.NewDesc("cairn_event_oldest_index", "Index of the oldest event that is kept, 0 for none.", nil, nil)
)

// describeEvents sends the descriptions of the metrics of the event stream.
func describeEvents(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descEventSubscribers, descEventsPublished, descEventsLost, descEventOldest} {
		ch <- d
	}
}

// collectEvents sends the values of the metrics of the event stream.
func (s *Server) collectEvents(ch chan<- prometheus.Metric) {
	st := s.broker.Stats()
	ch <- prometheus.MustNewConstMetric(descEventSubscribers, prometheus.GaugeValue, float64(st.Subscriptions))
	ch <- prometheus.MustNewConstMetric(descEventsPublished, prometheus.CounterValue, float64(st.Published))
	ch <- prometheus.MustNewConstMetric(descEventsLost, prometheus.CounterValue, float64(st.Lost))
	ch <- prometheus.MustNewConstMetric(descEventOldest, prometheus.GaugeValue, float64(st.Oldest))
}
