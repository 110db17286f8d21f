package nomad

import (
	"context"
	"sync"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// regionIndexAge is how old a known index of another region may be. The store
	// there refuses a second try whose base is older than what it remembers.
	regionIndexAge = 5 * time.Second
	// regionIndexWait bounds the question for it.
	regionIndexWait = time.Second
)

// regionIndexes remembers how far the stores of other regions were.
type regionIndexes struct {
	mu    sync.Mutex
	known map[string]regionIndex // under mu
}

type regionIndex struct {
	index uint64 // 0 for a region that did not tell
	asked time.Time
}

// baseIn returns an index of the region's store from before now, 0 if it is not known:
// a write that is lost on its way there cannot be sent again then.
func (s *Server) baseIn(ctx context.Context, region string) uint64 {
	if !s.router.MeetsMinimumVersion(region, onceSince, false) {
		return 0
	}
	r := &s.regionIndexes
	r.mu.Lock()
	at, now := r.known[region], time.Now()
	r.mu.Unlock()
	if now.Sub(at.asked) < regionIndexAge {
		return at.index
	}
	ctx, cancel := context.WithTimeout(ctx, regionIndexWait)
	defer cancel()
	var reply structs.RegionIndexResponse
	q := &structs.GenericRequest{QueryOptions: structs.QueryOptions{Region: region}}
	if s.RPC(ctx, regionLatest.name, q, &reply) != nil {
		reply.Index = 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		r.known = map[string]regionIndex{}
	}
	r.known[region] = regionIndex{reply.Index, now}
	return reply.Index
}

// forwardWrite passes a write with a request ID to another region, and again when the
// connection breaks before the answer is there.
func (s *Server) forwardWrite(ctx context.Context, c *call) error {
	base := s.baseIn(ctx, c.region)
	pace := hold{deadline: c.began.Add(s.config.RPCHoldTimeout), step: firstPause}
	var lost error // of a try that may have been applied
	for {
		err := s.askRegion(ctx, c)
		switch {
		case err == nil:
			return nil
		case mayHaveRun(err):
			lost = err
		case lost != nil && errs.NotSent(err):
			err = lost
		default:
			return err
		}
		if base == 0 || s.ctx.Err() != nil {
			return err
		}
		if !c.again() {
			c.since = base
		}
		if !pace.wait(ctx, nil) {
			return err
		}
	}
}
