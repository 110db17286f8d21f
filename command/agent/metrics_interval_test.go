package agent

import (
	"encoding/json"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	metrics "github.com/hashicorp/go-metrics/compat"
	"github.com/prometheus/client_golang/prometheus"
)

// counted returns the sum of a counter as /v1/metrics shows it, 0 for none.
func counted(t *telemetry, name string) float64 {
	for _, c := range t.summary().Counters {
		if c.Name == name {
			return c.Sum
		}
	}
	return 0
}

// What is flushed is seen until its interval ends; then the whole interval is.
func TestFlushShowsTheIntervalThatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := &telemetry{memory: metrics.NewInmemSink(10*time.Second, time.Minute), own: prometheus.NewRegistry()}
		add := func() { tel.memory.IncrCounter([]string{"calls"}, 1) }
		add()
		time.Sleep(10 * time.Second)
		add()
		add()
		if n := counted(tel, "calls"); n != 1 {
			t.Errorf("before: %v, want the interval that is complete", n)
		}
		tel.flush()
		if n := counted(tel, "calls"); n != 2 {
			t.Errorf("flushed: %v, want the interval that runs", n)
		}
		add()
		if n := counted(tel, "calls"); n != 2 {
			t.Errorf("%v, what came after the flush was not asked for", n)
		}
		time.Sleep(10 * time.Second)
		if n := counted(tel, "calls"); n != 3 {
			t.Errorf("%v, the interval has ended and is to be seen as a whole", n)
		}
		time.Sleep(20 * time.Second)
		tel.memory.SetGauge([]string{"x"}, 1)
		if n := counted(tel, "calls"); n == 2 {
			t.Error("an old flush hides newer intervals")
		}
	})
}

// The form is that of the library that collects.
func TestSummaryHasTheFormOfTheLibrary(t *testing.T) {
	sink := metrics.NewInmemSink(time.Hour, 2*time.Hour)
	label := []metrics.Label{{Name: "a", Value: "b"}}
	sink.SetGauge([]string{"z", "gauge"}, 4)
	sink.SetGaugeWithLabels([]string{"gauge"}, 1.5, label)
	sink.EmitKey([]string{"key"}, 3)
	sink.EmitKey([]string{"another"}, 3)
	sink.IncrCounterWithLabels([]string{"counter"}, 2, label)
	sink.IncrCounter([]string{"counter"}, 7)
	sink.AddSample([]string{"sample"}, 2)
	sink.AddSample([]string{"sample"}, 5)
	library, err := sink.DisplayMetrics(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal(library)
	if err != nil {
		t.Fatal(err)
	}
	all := sink.Data()
	got, err := json.Marshal(summarize(all[max(len(all)-2, 0)]))
	if err != nil || string(got) != string(want) {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
}

func TestFlushIsANotification(t *testing.T) {
	h := testAPI(t, newFake())
	h.telemetry.memory.IncrCounter([]string{"flushed", "counter"}, 3)
	w := call(h, "POST", "/v1/rpc", `{"jsonrpc":"2.0","method":"flush_metrics"}`)
	if w.Code != 204 || w.Body.Len() > 0 || h.telemetry.flushed.Load() == nil {
		t.Errorf("%d %s, flushed %v", w.Code, w.Body, h.telemetry.flushed.Load())
	}
	names := []string{}
	for _, c := range h.telemetry.summary().Counters {
		names = append(names, c.Name)
	}
	if !slices.Contains(names, "flushed.counter") {
		t.Errorf("counters %v", names)
	}
}
