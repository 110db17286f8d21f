package auth

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// rememberFor is how long a document of a provider is taken for current. Whoever
	// tries to log in with signatures of unknown keys has the keys asked for each time,
	// and needs no right for it.
	rememberFor = 2 * time.Second
	// maxRemembered and maxRememberedBytes bound what is kept of one provider: what it says of itself, and its keys.
	maxRemembered      = 2
	maxRememberedBytes = 256 << 10
)

// remembering answers what does not depend on who asks from the last reply, for a
// moment. It is safe for concurrent use.
type remembering struct {
	next http.RoundTripper

	mu   sync.Mutex
	kept map[string]*remembered // by URL, under mu
}

// remembered is a reply whose body was read to its end.
type remembered struct {
	at       time.Time
	response http.Response
	body     []byte
}

// RoundTrip answers as next does, or did a moment ago.
func (m *remembering) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet || r.Header.Get("Authorization") != "" {
		return m.next.RoundTrip(r)
	}
	url := r.URL.String()
	m.mu.Lock()
	last := m.kept[url]
	m.mu.Unlock()
	if last != nil && time.Since(last.at) < rememberFor {
		return last.answer(r), nil
	}
	return m.ask(r, url)
}

// ask asks, whatever is remembered, and remembers the reply.
func (m *remembering) ask(r *http.Request, url string) (*http.Response, error) {
	resp, err := m.next.RoundTrip(r)
	if err != nil || resp.StatusCode != http.StatusOK {
		return resp, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if !json.Valid(body) || !bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) {
		body = nil // no document of a provider, and errors would tell it
	}
	fresh := &remembered{at: time.Now(), response: *resp, body: body}
	if len(body) <= maxRememberedBytes {
		m.keep(url, fresh)
	}
	return fresh.answer(r), nil
}

func (m *remembering) keep(url string, fresh *remembered) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept == nil || m.kept[url] == nil && len(m.kept) >= maxRemembered {
		m.kept = map[string]*remembered{}
	}
	m.kept[url] = fresh
}

// answer returns the reply to r, whose body is the caller's.
func (k *remembered) answer(r *http.Request) *http.Response {
	resp := k.response
	resp.Request, resp.Header = r, k.response.Header.Clone()
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(k.body)), int64(len(k.body))
	return &resp
}
