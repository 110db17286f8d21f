package command

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// fakeAgent answers canned replies and keeps what it was asked.
type fakeAgent struct {
	*httptest.Server
	mu       sync.Mutex
	replies  map[string]reply
	requests []request
}

type reply struct {
	status int
	body   any
	header map[string]string
}

type request struct {
	line, body, token string
}

// newFakeAgent serves replies by "METHOD /path", with or without the query.
func newFakeAgent(t *testing.T, replies map[string]reply) *fakeAgent {
	t.Helper()
	f := &fakeAgent{replies: replies}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeAgent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	line := r.Method + " " + r.URL.RequestURI()
	f.mu.Lock()
	f.requests = append(f.requests, request{line, strings.TrimSpace(string(body)), r.Header.Get(tokenHeader)})
	rep, ok := f.replies[line]
	if !ok {
		rep, ok = f.replies[r.Method+" "+r.URL.EscapedPath()]
	}
	f.mu.Unlock()
	if !ok {
		http.Error(w, "resource not found: "+line, http.StatusNotFound)
		return
	}
	for k, v := range rep.header {
		w.Header().Set(k, v)
	}
	if rep.status == 0 {
		rep.status = http.StatusOK
	}
	w.WriteHeader(rep.status)
	switch b := rep.body.(type) {
	case nil:
	case string:
		_, _ = io.WriteString(w, b)
	default:
		_ = json.NewEncoder(w).Encode(b)
	}
}

// asked returns the request lines so far.
func (f *fakeAgent) asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, r := range f.requests {
		out = append(out, r.line)
	}
	return out
}

// last returns the last request.
func (f *fakeAgent) last() request {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.requests) == 0 {
		return request{}
	}
	return f.requests[len(f.requests)-1]
}

// lastWrite returns the last request that was no read.
func (f *fakeAgent) lastWrite() request {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range slices.Backward(f.requests) {
		if !strings.HasPrefix(r.line, "GET ") {
			return r
		}
	}
	return request{}
}

// lockedBuffer collects what several writers print.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// result is what a command line did.
type result struct {
	code           int
	stdout, stderr string
}

// invocation is one run of the command line with an environment of its own.
type invocation struct {
	env   map[string]string
	stdin io.Reader
	agent AgentFunc
}

func (i invocation) run(args ...string) result {
	var out, errs lockedBuffer
	code := Run(args, Options{
		Version: "1.2.3", Revision: "abcdef", Agent: i.agent,
		Stdin: i.stdin, Stdout: &out, Stderr: &errs,
		Getenv: func(name string) string { return i.env[name] },
	})
	return result{code, out.String(), errs.String()}
}

// run executes a command line against the fake agent.
func (f *fakeAgent) run(args ...string) result {
	return invocation{env: map[string]string{"CAIRN_ADDR": f.URL}}.run(args...)
}

// expect fails unless the run ended as said; every want must be in the stream.
func (r result) expect(t *testing.T, code int, stdout, stderr []string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d\nstdout:\n%s\nstderr:\n%s", r.code, code, r.stdout, r.stderr)
	}
	for _, want := range stdout {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("stdout lacks %q:\n%s", want, r.stdout)
		}
	}
	for _, want := range stderr {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("stderr lacks %q:\n%s", want, r.stderr)
		}
	}
	if stderr == nil && r.stderr != "" {
		t.Errorf("unexpected on stderr:\n%s", r.stderr)
	}
}
