package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/cairn-project/cairn/bench/load"
)

// The lines of the table.
const (
	workReads         = "linearizable GET/s, 3 servers, c=64, leader"
	workReadCPU       = "server CPU per GET of those (µs)"
	workStale         = "stale GET/s, 3 servers, c=64, followers"
	workCommitWithout = "commit p99, 1 server, c=8, no watchers (ms)"
	workCommitRatio   = "commit p99 with idle watchers ÷ without"
	workWakeP50       = "watchers of one key awake, p50 (ms)"
	workWakeP99       = "watchers of one key awake, p99 (ms)"
	workHeap          = "heap per 256-byte variable (kB)"
	workRestart       = "restart to first read (s)"
	workFailover      = "kill -9 of the leader to first write (s)"
	workArchiveSize   = "archive of the state (MB)"
)

func servers(n int) string {
	if n == 1 {
		return "1 server"
	}
	return fmt.Sprint(n, " servers")
}

func workWrites(n int) string   { return "writes/s, " + servers(n) + ", c=64" }
func workWriteCPU(n int) string { return "server CPU per write of those, " + servers(n) + " (µs)" }
func workWriteP50(n int) string { return "write p50, " + servers(n) + ", c=1 (ms)" }
func workWriteP99(n int) string { return "write p99, " + servers(n) + ", c=1 (ms)" }

// What is measured of archives, in each phase.
func workArchiveTook(phase string) string { return "archive, " + phase + " (s)" }
func workArchiveP50(phase string) string {
	return "write p50, 3 servers, c=8, archive: " + phase + " (ms)"
}
func workArchiveP99(phase string) string {
	return "write p99, 3 servers, c=8, archive: " + phase + " (ms)"
}
func workArchivePeak(phase string) string {
	return "peak memory of the leader after archive: " + phase + " (MB)"
}

// goal is a target: a bound for the figure itself, or for its ratio to the
// peer's. First is for the first release.
type goal struct {
	ratio       bool
	least       bool // else at most
	first, then float64
}

// order lists the lines; a goal of zero means none.
var order = []struct {
	work string
	goal goal
}{
	{workWrites(1), goal{true, true, 1.3, 1.8}},
	{workWriteCPU(1), goal{}},
	{workWriteP50(1), goal{}},
	{workWriteP99(1), goal{}},
	{workWrites(3), goal{true, true, 1.3, 2.2}},
	{workWriteCPU(3), goal{}},
	{workWriteP50(3), goal{true, false, 1.0, 0.8}},
	{workWriteP99(3), goal{}},
	{workReads, goal{true, true, 3, 4}},
	{workReadCPU, goal{}},
	{workStale, goal{true, true, 3, 4}},
	{workCommitWithout, goal{}},
	{workCommitRatio, goal{false, false, 1.2, 1.05}},
	{workWakeP50, goal{}},
	{workWakeP99, goal{false, false, 250, 100}},
	{workHeap, goal{false, false, 2.0, 1.2}},
	{workRestart, goal{false, false, 8, 3}},
	{workFailover, goal{false, false, 2.5, 0.3}},
	{workArchiveSize, goal{}},
	{workArchiveTook("save"), goal{}},
	{workArchiveTook("restore"), goal{}},
	{workArchiveP50("idle"), goal{}},
	{workArchiveP50("save"), goal{}},
	{workArchiveP50("restore"), goal{}},
	{workArchiveP99("idle"), goal{}},
	{workArchiveP99("save"), goal{}},
	{workArchiveP99("restore"), goal{}},
	{workArchivePeak("idle"), goal{}},
	{workArchivePeak("save"), goal{}},
	{workArchivePeak("restore"), goal{}},
}

// cell is one line's samples of one system.
type cell struct {
	Samples []float64
	Median  float64
	// ClientMicros is the generator's processor time per operation, 0 where it was not taken.
	ClientMicros float64 `json:",omitempty"`

	client []float64
}

// results holds the samples of every line by system, and notes on how a line
// was taken.
type results struct {
	cells map[string]map[string]*cell
	notes map[string]string
}

func newResults() *results {
	return &results{cells: map[string]map[string]*cell{}, notes: map[string]string{}}
}

func (r *results) cell(work, system string) *cell {
	if r.cells[work] == nil {
		r.cells[work] = map[string]*cell{}
	}
	if r.cells[work][system] == nil {
		r.cells[work][system] = &cell{}
	}
	return r.cells[work][system]
}

func (r *results) add(work, system string, v float64) {
	c := r.cell(work, system)
	c.Samples = append(c.Samples, v)
}

func (r *results) addRate(work, system string, res load.Result) {
	r.add(work, system, res.Rate())
	c := r.cell(work, system)
	c.client = append(c.client, float64(res.ClientCPU.Microseconds())/float64(res.Ops))
}

// note says how a line was taken.
func (r *results) note(work, text string) { r.notes[work] = text }

// line is one row of the report.
type line struct {
	Work    string
	Systems map[string]*cell
	// Ratio is ours to the peer's, 0 without a peer.
	Ratio float64 `json:",omitempty"`
	// Target and Verdict are empty without a target.
	Target  string `json:",omitempty"`
	Verdict string `json:",omitempty"`
	Note    string `json:",omitempty"`
}

// report is the outcome of a run.
type report struct {
	Conditions conditions
	Lines      []line
}

// report sums up, ours against the peer.
func (r *results) report(c conditions) report {
	rep := report{Conditions: c}
	for _, o := range order {
		systems := r.cells[o.work]
		if systems == nil {
			continue
		}
		l := line{Work: o.work, Systems: systems, Note: r.notes[o.work]}
		for _, cell := range systems {
			cell.Median = load.Median(cell.Samples)
			cell.ClientMicros = load.Median(cell.client)
		}
		ours, peer := systems["cairn"], systems["etcd"]
		if ours != nil && peer != nil && peer.Median > 0 {
			l.Ratio = ours.Median / peer.Median
		}
		o.goal.judge(&l, ours)
		rep.Lines = append(rep.Lines, l)
	}
	return rep
}

// judge fills in the target and what became of it.
func (g goal) judge(l *line, ours *cell) {
	if g == (goal{}) {
		return
	}
	sign, unit := "≤", ""
	if g.least {
		sign = "≥"
	}
	if g.ratio {
		unit = " × etcd"
	}
	l.Target = fmt.Sprintf("%s %g%s, then %g", sign, g.first, unit, g.then)
	figure := l.Ratio
	if !g.ratio && ours != nil {
		figure = ours.Median
	}
	meets := func(bound float64) bool { return figure <= bound != g.least || figure == bound }
	switch {
	case ours == nil || figure == 0:
		l.Verdict = "not measured"
	case meets(g.then):
		l.Verdict = "beyond"
	case meets(g.first):
		l.Verdict = "met"
	default:
		l.Verdict = "missed"
	}
}

// print writes the table for people.
func (rep report) print(w io.Writer) {
	c := rep.Conditions
	fmt.Fprintf(w, "%s, %d cores shared with the generator, kernel %s, load before %s\n", c.Time, c.Cores, c.Kernel, c.Load)
	fmt.Fprintf(w, "fsync of %d bytes appended: p50 %s, p99 %s; values of %d bytes; medians\n", 2*c.Value, c.FsyncP50, c.FsyncP99, c.Value)
	for _, name := range slices.Sorted(maps.Keys(c.Versions)) {
		fmt.Fprintf(w, "%s: %s\n", name, c.Versions[name])
	}
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "work\tcairn\tetcd\tratio\ttarget\tverdict\tclient µs/op\tnote")
	for _, l := range rep.Lines {
		ratio := "-"
		if l.Ratio > 0 {
			ratio = fmt.Sprintf("%.2f", l.Ratio)
		}
		fmt.Fprintln(tw, strings.Join([]string{l.Work, l.figure("cairn"), l.figure("etcd"), ratio,
			dash(l.Target), dash(l.Verdict), l.client(), l.Note}, "\t"))
	}
	tw.Flush()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// figure shows the median and, from several samples, how far they spread.
func (l line) figure(system string) string {
	c := l.Systems[system]
	if c == nil || len(c.Samples) == 0 {
		return "-"
	}
	text := number(c.Median)
	if len(c.Samples) > 1 {
		text += fmt.Sprintf(" (%s–%s)", number(slices.Min(c.Samples)), number(slices.Max(c.Samples)))
	}
	return text
}

func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

// client shows what the generator cost, ours / the peer's.
func (l line) client() string {
	var parts []string
	for _, name := range []string{"cairn", "etcd"} {
		if c := l.Systems[name]; c != nil && c.ClientMicros > 0 {
			parts = append(parts, fmt.Sprintf("%.1f", c.ClientMicros))
		}
	}
	return dash(strings.Join(parts, " / "))
}

// save writes the report as JSON to file, "-" for standard output, "" for nowhere.
func (rep report) save(file string) error {
	if file == "" {
		return nil
	}
	raw, err := json.MarshalIndent(rep, "", "  ")
	if err != nil {
		return err
	}
	raw = append(raw, '\n')
	if file == "-" {
		_, err = os.Stdout.Write(raw)
		return err
	}
	return os.WriteFile(file, raw, 0o644)
}
