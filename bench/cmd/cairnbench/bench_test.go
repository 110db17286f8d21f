package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWholeRun drives every part against servers that are this test binary.
func TestWholeRun(t *testing.T) {
	if testing.Short() {
		return // starts processes
	}
	t.Setenv(fakeEnv, "1")
	dir := t.TempDir()
	out := filepath.Join(dir, "out.json")
	err := run(context.Background(), []string{"-cairn", os.Args[0], "-rounds", "1", "-duration", "100ms", "-warmup", "10ms",
		"-settle", "100ms", "-variables", "300", "-heap-variables", "300", "-archive-variables", "300", "-watchers", "50", "-failovers", "2", "-dir", dir, "-json", out})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var rep report
	if err := json.Unmarshal(raw, &rep); err != nil {
		t.Fatal(err)
	}
	if rep.Conditions.Versions["cairn"] != "fake v0" || rep.Conditions.FsyncP50 <= 0 {
		t.Errorf("conditions %+v", rep.Conditions)
	}
	if len(rep.Lines) != len(order) {
		t.Errorf("%d lines, want %d", len(rep.Lines), len(order))
	}
	samples := map[string]int{workFailover: 2, workWakeP50: wakes, workWakeP99: wakes}
	for _, l := range rep.Lines {
		c := l.Systems["cairn"]
		if want := max(1, samples[l.Work]); len(c.Samples) != want {
			t.Errorf("%s: %d samples, want %d", l.Work, len(c.Samples), want)
		}
		switch l.Work {
		case workHeap: // a few hundred keys drown in the noise of the heap
			continue
		case workWriteCPU(1), workWriteCPU(3), workReadCPU: // the system counts in steps of 10 ms
			continue
		}
		if c.Median <= 0 {
			t.Errorf("%s: median %v", l.Work, c.Median)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "cairnbench-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestServerThatDiesIsReportedWithItsLog(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\necho no such option\n[ \"$1\" = version ]\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	err := run(context.Background(), []string{"-cairn", broken, "-dir", dir})
	if err == nil || !strings.Contains(err.Error(), "no such option") {
		t.Errorf("error %v", err)
	}
}

func TestValuesNeverRepeat(t *testing.T) {
	seen := map[string]bool{}
	for worker := range 4 {
		v := newValue(worker)
		for range 1000 {
			b := string(v.bytes())
			if len(b) != valueSize || seen[b] || strings.ContainsAny(b, "\"\\\x00") {
				t.Fatalf("value %q", b)
			}
			seen[b] = true
		}
	}
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		work       string
		ours, peer float64
		want       string
	}{
		{workWrites(3), 220, 100, "beyond"},
		{workWrites(3), 219, 100, "met"},
		{workWrites(3), 129, 100, "missed"},
		{workWrites(3), 129, 0, "not measured"},
		{workWrites(3), 0, 100, "not measured"},
		{workWriteP50(3), 0.8, 1, "beyond"},
		{workWriteP50(3), 1, 1, "met"},
		{workWriteP50(3), 1.01, 1, "missed"},
		{workWakeP99, 100, 0, "beyond"},
		{workWakeP99, 251, 0, "missed"},
	} {
		r := newResults()
		if c.ours > 0 {
			r.add(c.work, "cairn", c.ours)
		}
		if c.peer > 0 {
			r.add(c.work, "etcd", c.peer)
		}
		rep := r.report(conditions{})
		if got := rep.Lines[0].Verdict; got != c.want {
			t.Errorf("%s, %v to %v: %s, want %s", c.work, c.ours, c.peer, got, c.want)
		}
	}
}

func TestTableShowsMedianAndSpread(t *testing.T) {
	r := newResults()
	for _, v := range []float64{9000, 12000, 10000} {
		r.add(workWrites(1), "cairn", v)
	}
	r.add(workWrites(1), "etcd", 5000)
	var out bytes.Buffer
	r.report(conditions{Versions: map[string]string{"etcd": "etcd 3.4"}}).print(&out)
	for _, want := range []string{"10000 (9000–12000)", "5000", "2.00", "beyond", "etcd: etcd 3.4"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestHeapFigures(t *testing.T) {
	if n, ok := promValue([]byte("# HELP x\ngo_memstats_heap_alloc_bytes_total 9\ngo_memstats_heap_alloc_bytes 1.5e+06\n"), "go_memstats_heap_alloc_bytes"); !ok || n != 1.5e6 {
		t.Errorf("%v, %v", n, ok)
	}
	if _, ok := promValue([]byte("other 1\n"), "go_memstats_heap_alloc_bytes"); ok {
		t.Error("found what is not there")
	}
	if n, name, ok := gaugeValue([]byte(`{"Gauges":[{"Name":"a.runtime.alloc_bytes","Value":7}]}`)); !ok || n != 7 || name != "a.runtime.alloc_bytes" {
		t.Errorf("%v, %s, %v", n, name, ok)
	}
	if _, _, ok := gaugeValue([]byte("404")); ok {
		t.Error("found what is not there")
	}
}

func TestFlags(t *testing.T) {
	for _, args := range [][]string{{"-only", "everything"}, {"-cairn", ""}, {"-cairn", "/nonexistent"}, {"-rounds", "x"}} {
		if err := run(context.Background(), args); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}
