package nomad

import (
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Raft tries again what a peer does not answer, and says so each time: three lines a second
// for a peer that is down, seven where a majority is, for as long as that lasts.
const (
	// repeatsShown lines that are alike come through, so that what happens now and then is
	// seen each time; then one after repeatPause, twice that, and so on up to maxRepeatPause.
	repeatsShown   = 3
	repeatPause    = time.Second
	maxRepeatPause = time.Minute
	// repeatsOver is the silence after which a line is news again. What Raft tries again
	// comes sooner.
	repeatsOver = 10 * time.Second
	// maxRepeats bounds the lines that are remembered.
	maxRepeats = 256
)

// raftLog is the logger of Raft. At level debug it leaves nothing out.
type raftLog struct {
	hclog.Logger

	mu      sync.Mutex
	repeats map[string]*repeated
}

// repeated is what is known of lines that are alike.
type repeated struct {
	seen, shown time.Time
	pause       time.Duration
	// count is how many were shown, leftOut how many were not since the last of them.
	count, leftOut int
}

func newRaftLog(logger hclog.Logger) *raftLog {
	return &raftLog{Logger: logger, repeats: map[string]*repeated{}}
}

// Error logs a line that is due.
func (l *raftLog) Error(msg string, args ...any) {
	if args, due := l.due(msg, args); due {
		l.Logger.Error(msg, args...)
	}
}

// Warn logs a line that is due.
func (l *raftLog) Warn(msg string, args ...any) {
	if args, due := l.due(msg, args); due {
		l.Logger.Warn(msg, args...)
	}
}

// Info logs a line; of those about an election that nobody wins one that is due.
func (l *raftLog) Info(msg string, args ...any) {
	switch msg {
	case "entering candidate state", "pre-vote campaign failed, waiting for election timeout":
		var due bool
		if args, due = l.due(msg, args); !due {
			return
		}
	}
	l.Logger.Info(msg, args...)
}

// due reports whether a line is to be logged, with how many were left out before it. Lines
// are alike that say the same of the same peer, which is what Raft names first.
func (l *raftLog) due(msg string, args []any) ([]any, bool) {
	if l.IsDebug() {
		return args, true
	}
	key := msg
	if len(args) > 1 {
		key = fmt.Sprint(msg, args[1])
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r, now := l.repeatLocked(key), time.Now()
	r.seen = now
	if r.count >= repeatsShown && now.Sub(r.shown) < r.pause {
		r.leftOut++
		return nil, false
	}
	if r.count++; r.count >= repeatsShown {
		r.pause = min(max(2*r.pause, repeatPause), maxRepeatPause)
	}
	r.shown = now
	if r.leftOut > 0 {
		args = append(args[:len(args):len(args)], "left_out", r.leftOut)
		r.leftOut = 0
	}
	return args, true
}

// repeatLocked returns what is known of a line; l.mu is held.
func (l *raftLog) repeatLocked(key string) *repeated {
	now := time.Now()
	r := l.repeats[key]
	if r != nil && now.Sub(r.seen) <= repeatsOver {
		return r
	}
	if r == nil && len(l.repeats) >= maxRepeats {
		for k, old := range l.repeats {
			if now.Sub(old.seen) > repeatsOver {
				delete(l.repeats, k)
			}
		}
		if len(l.repeats) >= maxRepeats {
			return &repeated{} // too many are new: all of them are told
		}
	}
	r = &repeated{}
	l.repeats[key] = r
	return r
}
