package limit

import (
	"hash/maphash"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// account is what one payer has spent, by class.
type account [classes]meter

const (
	// accountShards keep callers out of each other's way.
	accountShards = 64
	// accountsPerShard bounds how many payers are remembered. The one that was
	// silent for longest is forgotten, and begins anew with a full burst.
	accountsPerShard = 256
)

// accounts remembers a bounded number of payers.
type accounts[K comparable] struct {
	seed   maphash.Seed
	shards [accountShards]accountShard[K]
}

type accountShard[K comparable] struct {
	mu    sync.Mutex
	known *simplelru.LRU[K, *account] // guarded by mu
	_     [40]byte                    // the next shard is on another cache line
}

func newAccounts[K comparable]() *accounts[K] {
	a := &accounts[K]{seed: maphash.MakeSeed()}
	for i := range a.shards {
		known, err := simplelru.NewLRU[K, *account](accountsPerShard, nil)
		if err != nil {
			panic(err) // only for a size that is not positive
		}
		a.shards[i].known = known
	}
	return a
}

// of returns the account of a payer.
func (a *accounts[K]) of(payer K) *account {
	s := &a.shards[maphash.Comparable(a.seed, payer)%accountShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	acc, ok := s.known.Get(payer)
	if !ok {
		acc = &account{}
		s.known.Add(payer, acc)
	}
	return acc
}

// len returns how many payers are remembered.
func (a *accounts[K]) len() int {
	n := 0
	for i := range a.shards {
		s := &a.shards[i]
		s.mu.Lock()
		n += s.known.Len()
		s.mu.Unlock()
	}
	return n
}
