package nomad

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// hangTicks is how often the watchdog must see the same piece of work under
	// way before it counts as hanging. It counts its own ticks and not the time,
	// so that a process that stood still blames nobody when it goes on.
	hangTicks = 12
	// storeTicks is hangTicks for the store. It waits for nothing but processors, and
	// large batches take a while on every server alike.
	storeTicks = 10 * hangTicks
	// snapshotTicks is hangTicks for a snapshot, which has no length that would be too
	// much: what counts is that nothing of it moves.
	snapshotTicks = 10 * hangTicks
	// slowWarnings is the least time between two warnings of slow work.
	slowWarnings = 10 * time.Second
)

// work is something that consensus does from one goroutine and that may hang.
type work struct {
	name   string // for people: what does not come to an end
	advice string
	slowAt time.Duration
	limit  int // ticks

	begun, ended atomic.Uint64
	moves        atomic.Uint64 // parts of runs that came to an end
	startedAt    atomic.Int64  // Unix nanoseconds
	nanos        atomic.Uint64
	slow         atomic.Uint64
	longest      atomic.Int64 // nanoseconds, since the last warning
	hangs        atomic.Bool  // what the last tick found

	// The rest belongs to the watchdog.
	seen     uint64 // the run that was under way at the last tick, 0 for none
	moved    uint64 // moves at the last tick
	ticks    int    // for how many ticks
	cried    bool   // whether it was told that it hangs, where that is not health
	told     uint64 // slow runs at the last warning
	toldRuns uint64
	toldAt   time.Time
}

// begin and end enclose one run.
func (w *work) begin() time.Time {
	now := time.Now()
	w.startedAt.Store(now.UnixNano())
	w.begun.Add(1)
	return now
}

func (w *work) end(began time.Time) {
	took := time.Since(began)
	w.ended.Add(1)
	w.nanos.Add(uint64(took))
	if took < w.slowAt {
		return
	}
	w.slow.Add(1)
	w.longest.Store(max(w.longest.Load(), int64(took))) // only a warning reads it meanwhile
}

// tick reports whether one and the same run has been under way for too long.
func (w *work) tick() bool {
	run := w.begun.Load()
	if w.ended.Load() == run {
		run = 0
	}
	moves := w.moves.Load()
	if run == 0 || run != w.seen || moves != w.moved {
		w.seen, w.moved, w.ticks = run, moves, 0
	} else {
		w.ticks++
	}
	w.hangs.Store(w.ticks >= w.limit)
	return w.ticks >= w.limit
}

// underWay returns for how long a run has been under way, 0 for none.
func (w *work) underWay() time.Duration {
	if w.ended.Load() == w.begun.Load() {
		return 0
	}
	return time.Since(time.Unix(0, w.startedAt.Load()))
}

// warn says, not too often, that the work is slow.
func (w *work) warn(logger hclog.Logger) {
	slow, runs := w.slow.Load(), w.ended.Load()
	if slow == w.told || time.Since(w.toldAt) < slowWarnings {
		return
	}
	logger.Warn(w.name+" is slow", "slower_than", w.slowAt, "times", slow-w.told, "of", runs-w.toldRuns,
		"longest", time.Duration(w.longest.Swap(0)), "advice", w.advice)
	w.told, w.toldRuns, w.toldAt = slow, runs, time.Now()
}

// health is what the watchdog found. It is immutable but for over.
type health struct {
	err error // nil while all is well
	// over is closed when another finding takes its place.
	over chan struct{}
}

// watchdog looks, from a goroutine of its own, whether the log and the store come
// to an end with what they do.
type watchdog struct {
	// log and vote are writes to the disk, store is a batch of entries, persist and
	// restore are snapshots.
	log, vote, store, persist, restore work
	every                              time.Duration
	now                                atomic.Pointer[health]
	// verdict tells runLeadership whether this server hangs.
	verdict chan bool // capacity 1
}

func newWatchdog(limit time.Duration) *watchdog {
	const disk, machine = "look at the disk of the data directory", "look at the processors and the memory of this machine"
	slow := limit / 10
	w := &watchdog{
		log:     work{name: "writing the Raft log", limit: hangTicks, slowAt: slow, advice: disk},
		vote:    work{name: "writing term and vote", limit: hangTicks, slowAt: slow, advice: disk},
		store:   work{name: "applying to the store", limit: storeTicks, slowAt: slow * storeTicks / hangTicks, advice: machine},
		persist: work{name: "writing a snapshot", limit: snapshotTicks, slowAt: slowSnapshot, advice: disk},
		restore: work{name: "restoring a snapshot", limit: snapshotTicks, slowAt: slowSnapshot, advice: disk},
		every:   limit / hangTicks, verdict: make(chan bool, 1),
	}
	w.now.Store(&health{over: make(chan struct{})})
	return w
}

// slowSnapshot is when a snapshot that moves on is worth a warning.
const slowSnapshot = time.Minute

// all returns the kinds of work by the names that metrics give them, the most telling first.
func (w *watchdog) all() []namedWork {
	return []namedWork{{"log", &w.log}, {"vote", &w.vote}, {"store", &w.store}, {"restore", &w.restore}, {"snapshot", &w.persist}}
}

type namedWork struct {
	name string
	*work
}

// set replaces the finding.
func (w *watchdog) set(err error) {
	close(w.now.Swap(&health{err: err, over: make(chan struct{})}).over)
}

// err says what hangs, nil if nothing does.
func (w *watchdog) err() error { return w.now.Load().err }

// hangs returns a channel that is closed when something begins to hang, and now
// if it hangs already.
func (w *watchdog) hangs() <-chan struct{} {
	h := w.now.Load()
	if h.err != nil {
		return closedChan
	}
	return h.over
}

var closedChan = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// find returns what keeps this server from leading, nil if nothing does. A snapshot
// that is written does not: the log and the metrics tell of it.
func (w *watchdog) find() (found *work) {
	for _, k := range w.all() {
		if k.tick() && found == nil && k.work != &w.persist {
			found = k.work
		}
	}
	return found
}

// runWatchdog makes a server that hangs give up leadership: it sends nothing as a
// leader, so that the others elect one of them, and lays its duties down.
func (s *Server) runWatchdog(ctx context.Context) {
	w := s.watchdog
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, k := range w.all() {
			k.warn(s.logger)
		}
		hanging := w.find()
		s.warnSnapshot()
		switch was := w.err(); {
		case hanging != nil && was == nil:
			s.beginHang(hanging)
		case hanging == nil && was != nil:
			s.endHang()
		}
		if hanging != nil {
			if _, id := s.leaderNow(); id != s.leaders.current().id {
				s.leaders.lookAgain()
			}
		}
	}
}

// beginHang gives leadership up, where another server could take it.
func (s *Server) beginHang(what *work) {
	since := time.Unix(0, what.startedAt.Load())
	err := fmt.Errorf("%s has not come to an end since %s: %s", what.name, since.UTC().Format(time.RFC3339), what.advice)
	s.watchdog.set(err)
	if len(voters(s.raft.GetConfiguration().Configuration())) < 2 {
		s.logger.Error("this server hangs, and no other could lead", "work", what.name, "for", time.Since(since), "advice", what.advice)
		return
	}
	s.logger.Error("this server hangs, it gives up leadership if it leads", "work", what.name, "for", time.Since(since), "leads", s.IsLeader(), "advice", what.advice)
	s.transport.Silence(true)
	s.watchdog.say(true)
}

func (s *Server) endHang() {
	s.logger.Warn("this server works again", "was", s.watchdog.err())
	s.watchdog.set(nil)
	s.transport.Silence(false)
	s.leaders.lookAgain()
	s.watchdog.say(false)
}

// say replaces what runLeadership is told. Only runWatchdog calls it.
func (w *watchdog) say(hangs bool) {
	select {
	case <-w.verdict:
	default:
	}
	w.verdict <- hangs
}

// warnSnapshot tells, once, of a snapshot that does not get written: the log grows
// meanwhile.
func (s *Server) warnSnapshot() {
	w := &s.watchdog.persist
	if hangs := w.hangs.Load(); hangs != w.cried {
		if w.cried = hangs; hangs {
			s.logger.Error("a snapshot does not get written, the log grows meanwhile", "since", time.Unix(0, w.startedAt.Load()).UTC().Format(time.RFC3339), "advice", w.advice)
		}
	}
}

// leaderNow returns the leader that raft knows. While this server hangs that is
// the new one from which something came in, although raft's main loop has not
// looked at it.
func (s *Server) leaderNow() (addr, id string) {
	term, a, i := s.transport.HeardLeader()
	if s.watchdog.err() == nil || term <= s.raft.CurrentTerm() {
		a, i = s.raft.LeaderWithID()
	}
	return string(a), string(i)
}

// writing returns for how long raft has waited for its disk.
func (w *watchdog) writing() time.Duration {
	if w == nil { // the server never began
		return 0
	}
	return max(w.log.underWay(), w.vote.underWay())
}

// errHangs ends the wait for the log or the store.
var errHangs = errors.New("the log or the store hangs")

// hanging returns why this server cannot lead, nil if it could.
func (s *Server) hanging() error {
	if err := s.watchdog.err(); err != nil {
		return errors.New("the server hangs: " + err.Error())
	}
	return nil
}

var (
	descWorkRuns    = prometheus.NewDesc("cairn_raft_work_total", "Writes to the log and of votes, batches applied to the store, and snapshots, by work.", []string{"work"}, nil)
	descWorkSeconds = prometheus.NewDesc("cairn_raft_work_seconds_total", "Time spent in them, by work.", []string{"work"}, nil)
	descWorkSlow    = prometheus.NewDesc("cairn_raft_work_slow_total", "How many of them took a tenth of the time after which they count as hanging, by work.", []string{"work"}, nil)
	descWorkHangs   = prometheus.NewDesc("cairn_raft_work_hangs", "1 while it hangs, by work; unless that is snapshot, this server does not lead therefore.", []string{"work"}, nil)
)

func (s *Server) collectWork(ch chan<- prometheus.Metric) {
	for _, k := range s.watchdog.all() {
		send := func(d *prometheus.Desc, t prometheus.ValueType, v float64) {
			ch <- prometheus.MustNewConstMetric(d, t, v, k.name)
		}
		send(descWorkRuns, prometheus.CounterValue, float64(k.ended.Load()))
		send(descWorkSeconds, prometheus.CounterValue, time.Duration(k.nanos.Load()).Seconds())
		send(descWorkSlow, prometheus.CounterValue, float64(k.slow.Load()))
		hangs := 0.0
		if k.hangs.Load() {
			hangs = 1
		}
		send(descWorkHangs, prometheus.GaugeValue, hangs)
	}
}

func describeWork(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descWorkRuns, descWorkSeconds, descWorkSlow, descWorkHangs} {
		ch <- d
	}
}
