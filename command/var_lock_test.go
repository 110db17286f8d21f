package command

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
)

// lockServer is one variable with a lock, as the HTTP API shows it.
type lockServer struct {
	*httptest.Server
	mu      sync.Mutex
	changed *sync.Cond
	// holder is the lock ID, "" when it is free; index counts changes.
	holder string
	index  int
	// counts by operation.
	acquires, conflicts, renewals, releases int
	// fail, if not nil, answers an operation in place of the lock.
	fail func(op string) int
	// asked is sent the first operation lock-acquire that was refused.
	refused chan struct{}
}

func newLockServer(t *testing.T) *lockServer {
	t.Helper()
	s := &lockServer{index: 1, refused: make(chan struct{}, 1)}
	s.changed = sync.NewCond(&s.mu)
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() {
		s.set(s.holder)
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// set makes id the holder and wakes those who wait for a change.
func (s *lockServer) set(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setLocked(id)
}

func (s *lockServer) setLocked(id string) {
	s.holder = id
	s.index++
	s.changed.Broadcast()
}

func (s *lockServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var v api.Variable
	_ = json.NewDecoder(r.Body).Decode(&v)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method == http.MethodGet {
		s.read(w, r)
		return
	}
	for _, op := range []string{"lock-acquire", "lock-renew", "lock-release"} {
		if _, ok := r.URL.Query()[op]; ok {
			s.apply(w, op, &v)
			return
		}
	}
	http.Error(w, "bad operation", http.StatusBadRequest)
}

func (s *lockServer) read(w http.ResponseWriter, r *http.Request) {
	want, _ := strconv.Atoi(r.URL.Query().Get("index"))
	for want != 0 && s.index <= want && r.Context().Err() == nil {
		s.changed.Wait()
	}
	_ = json.NewEncoder(w).Encode(api.Variable{Path: "app/leader", ModifyIndex: uint64(s.index)})
}

func (s *lockServer) apply(w http.ResponseWriter, op string, v *api.Variable) {
	if s.fail != nil {
		if code := s.fail(op); code != 0 {
			http.Error(w, "made to fail", code)
			return
		}
	}
	switch op {
	case "lock-acquire":
		if s.holder != "" {
			s.conflicts++
			select {
			case s.refused <- struct{}{}:
			default:
			}
			w.WriteHeader(http.StatusConflict)
			_ = json.NewEncoder(w).Encode(api.Variable{Path: v.Path, Items: api.VariableItems{"k": "s3cret"}})
			return
		}
		s.acquires++
		s.setLocked("id-" + strconv.Itoa(s.acquires))
	case "lock-renew":
		if v.LockID() != s.holder {
			w.WriteHeader(http.StatusConflict)
			_ = json.NewEncoder(w).Encode(api.Variable{Path: v.Path, Items: api.VariableItems{"k": "s3cret"}})
			return
		}
		s.renewals++
		s.changed.Broadcast()
	case "lock-release":
		if v.LockID() != s.holder || v.Items != nil {
			w.WriteHeader(http.StatusConflict)
			return
		}
		s.releases++
		s.setLocked("")
	}
	_ = json.NewEncoder(w).Encode(api.Variable{Path: v.Path, Lock: &api.VariableLock{ID: s.holder}})
}

func (s *lockServer) run(args ...string) result {
	return invocation{env: map[string]string{"CAIRN_ADDR": s.URL}}.run(append([]string{"var", "lock"}, args...)...)
}

func (s *lockServer) expectCounts(t *testing.T, acquires, releases int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.acquires != acquires || s.releases != releases {
		t.Errorf("%d acquires and %d releases, want %d and %d", s.acquires, s.releases, acquires, releases)
	}
}

func TestLockRunsTheCommandAndReleases(t *testing.T) {
	for _, tc := range []struct {
		args   []string
		code   int
		stdout string
	}{
		{[]string{"app/leader", "--", "echo", "-n", "hi"}, 0, "hi"},
		{[]string{"app/leader", "echo", "-h2"}, 0, "-h2\n"},
		{[]string{"app/leader", "-ttl", "20s", "--", "sh", "-c", "echo 'a  b'; exit 3"}, 3, "a  b\n"},
		{[]string{"app/leader", "echo one && exit 4"}, 4, "one\n"},
		{[]string{"-shell", "app/leader", "exit", "5"}, 5, ""},
		{[]string{"app/leader", "sh", "-c", "kill -TERM $$"}, 143, ""},
	} {
		s := newLockServer(t)
		r := s.run(tc.args...)
		if r.code != tc.code || r.stdout != tc.stdout || r.stderr != "" {
			t.Errorf("%q: %+v", tc.args, r)
		}
		s.expectCounts(t, 1, 1)
	}
}

func TestLockReleasesWhenTheCommandCannotStart(t *testing.T) {
	s := newLockServer(t)
	s.run("app/leader", "/no/such/command").expect(t, 1, nil, []string{"starting the command", "no such file"})
	s.expectCounts(t, 1, 1)
}

func TestLockIsRenewedWhileTheCommandRuns(t *testing.T) {
	s := newLockServer(t)
	stop := filepath.Join(t.TempDir(), "stop")
	go func() {
		s.mu.Lock()
		for s.renewals < 2 {
			s.changed.Wait()
		}
		s.mu.Unlock()
		_ = os.WriteFile(stop, nil, 0o600)
	}()
	s.run("-ttl", "2s", "-verbose", "app/leader", "--", "sh", "-c", "until test -e "+shellQuote(stop)+"; do sleep 0.02; done").
		expect(t, 0, nil, []string{"holding the lock", "renewed the lock", "released the lock"})
	s.expectCounts(t, 1, 1)
}

func TestLockWaitsForTheHolder(t *testing.T) {
	s := newLockServer(t)
	s.set("somebody")
	go func() {
		<-s.refused
		s.set("")
	}()
	r := s.run("-verbose", "app/leader", "echo", "mine")
	r.expect(t, 0, []string{"mine\n"}, []string{"held by somebody else"})
	s.expectCounts(t, 1, 1)
}

func TestLostLockStopsTheCommand(t *testing.T) {
	for _, tc := range []struct {
		name, script string
		lose         func(s *lockServer)
		grace, want  string
		clean        bool
	}{
		{"taken, the command obeys", `trap 'echo stopped; exit 0' TERM; echo ready; while :; do sleep 0.02; done`,
			func(s *lockServer) { s.set("thief") }, "30s", "somebody else holds it", true},
		{"taken, the command ignores SIGTERM", `trap '' TERM; echo ready; while :; do sleep 0.02; done`,
			func(s *lockServer) { s.set("thief") }, "200ms", "was stopped with code 137", false},
		{"servers do not answer", `trap 'echo stopped; exit 0' TERM; echo ready; while :; do sleep 0.02; done`,
			func(s *lockServer) {
				s.mu.Lock()
				s.fail = func(string) int { return http.StatusInternalServerError }
				s.mu.Unlock()
			}, "30s", "the lock is lost", true},
		{"a grandchild holds the output", `(trap '' TERM; sleep 60) & echo ready; wait`,
			func(s *lockServer) { s.set("thief") }, "200ms", "somebody else holds it", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newLockServer(t)
			ready := filepath.Join(t.TempDir(), "ready")
			go func() {
				for _, err := os.Stat(ready); errors.Is(err, os.ErrNotExist); _, err = os.Stat(ready) {
					time.Sleep(5 * time.Millisecond)
				}
				tc.lose(s)
			}()
			script := strings.Replace(tc.script, "echo ready", "touch "+shellQuote(ready), 1)
			r := s.run("-ttl", "4s", "-max-retry", "1", "-grace", tc.grace, "app/leader", "--", "sh", "-c", script)
			r.expect(t, 75, nil, []string{tc.want, "run the command again"})
			if got := strings.Contains(r.stdout, "stopped"); got != tc.clean {
				t.Errorf("command saw SIGTERM: %v, want %v", got, tc.clean)
			}
			if strings.Contains(r.stderr, "s3cret") {
				t.Errorf("items are shown:\n%s", r.stderr)
			}
			s.expectCounts(t, 1, 0)
		})
	}
}

func TestSignalsReachTheCommand(t *testing.T) {
	s := newLockServer(t)
	ready := filepath.Join(t.TempDir(), "ready")
	go func() {
		for _, err := os.Stat(ready); errors.Is(err, os.ErrNotExist); _, err = os.Stat(ready) {
			time.Sleep(5 * time.Millisecond)
		}
		_ = syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	}()
	s.run("app/leader", "--", "sh", "-c", "trap 'echo usr1; exit 9' USR1; touch "+shellQuote(ready)+"; while :; do sleep 0.02; done").
		expect(t, 9, []string{"usr1\n"}, []string{}) // the shell also tells of its own child
	s.expectCounts(t, 1, 1)
}

func TestInterruptWhileWaiting(t *testing.T) {
	s := newLockServer(t)
	s.set("somebody")
	go func() {
		<-s.refused
		_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
	}()
	s.run("app/leader", "echo", "never").expect(t, 143, nil, []string{"interrupted while waiting", "was not started"})
	s.expectCounts(t, 0, 0)
}

func TestAcquireRepeatsWhatMayPass(t *testing.T) {
	for _, tc := range []struct {
		status, fails int
		retries       string
		code          int
		want          []string
	}{
		{500, 1, "2", 0, nil},
		{500, 9, "1", 1, []string{"taking the lock of app/leader: made to fail (HTTP 500)"}},
		{403, 1, "5", 1, []string{"made to fail (HTTP 403)", "CAIRN_TOKEN"}},
		{400, 1, "5", 1, []string{"made to fail (HTTP 400)"}},
	} {
		s := newLockServer(t)
		left := tc.fails
		s.fail = func(op string) int {
			if op == "lock-acquire" && left > 0 {
				left--
				return tc.status
			}
			return 0
		}
		s.run("-max-retry", tc.retries, "app/leader", "true").expect(t, tc.code, nil, tc.want)
	}
}

func TestFailedReleaseIsAWarning(t *testing.T) {
	s := newLockServer(t)
	s.fail = func(op string) int {
		if op == "lock-release" {
			return http.StatusForbidden
		}
		return 0
	}
	s.run("app/leader", "true").expect(t, 0, nil, []string{"warning: the lock of app/leader was not released"})
}

func TestRenewGivesUpWhenTheServerHangs(t *testing.T) {
	hang := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}))
	defer srv.Close()
	defer close(hang)
	client, err := api.NewClient(&api.Config{Address: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	l := &lease{vars: client.Variables(), path: "a", ttl: 200 * time.Millisecond, retries: 100, trace: t.Logf, id: "x", held: time.Now()}
	if err := l.keep(context.Background()); !errors.Is(err, errLockLost) {
		t.Errorf("got %v", err)
	}
}
