package nomad

import (
	"context"
	"sync"

	"github.com/cairn-project/cairn/internal/limit"
)

const (
	// maxAsking bounds the logins that ask their providers at once, maxAskingOne those of one auth method.
	maxAsking    = 128
	maxAskingOne = 32
)

// loginGate bounds the logins that ask their providers: those of one auth method, so that
// a provider which is slow holds up nobody else's, and then all. It is safe for concurrent use.
type loginGate struct {
	all *limit.Gate

	mu  sync.Mutex
	one map[string]*methodGate // by auth method, while somebody is inside; under mu
}

// methodGate is the gate of one auth method.
type methodGate struct {
	*limit.Gate
	users int // who is inside or waits; under loginGate.mu
}

func newLoginGate() *loginGate {
	return &loginGate{all: limit.NewGate(limit.PerClass[int]{Write: maxAsking}), one: map[string]*methodGate{}}
}

// enter waits for a place. Unless it returns an error, which is one of limit.Gate,
// leave must follow.
func (g *loginGate) enter(ctx context.Context, method string) (leave func(), err error) {
	one := g.use(method)
	if err := one.Enter(ctx, limit.Write); err != nil {
		g.unuse(method)
		return nil, err
	}
	leaveOne := func() {
		one.Leave(limit.Write)
		g.unuse(method)
	}
	if err := g.all.Enter(ctx, limit.Write); err != nil {
		leaveOne()
		return nil, err
	}
	return func() {
		g.all.Leave(limit.Write)
		leaveOne()
	}, nil
}

func (g *loginGate) use(method string) *methodGate {
	g.mu.Lock()
	defer g.mu.Unlock()
	one := g.one[method]
	if one == nil {
		one = &methodGate{Gate: limit.NewGate(limit.PerClass[int]{Write: maxAskingOne})}
		g.one[method] = one
	}
	one.users++
	return one
}

func (g *loginGate) unuse(method string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	one := g.one[method]
	if one.users--; one.users == 0 {
		delete(g.one, method)
	}
}
