package auth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cairn-project/cairn/nomad/structs"
)

// maxWaiting bounds the logins of one auth method that wait for new keys of its provider.
const maxWaiting = 64

// AwaitKeys is for a token that was refused in a login that began at began: if the provider
// was asked for its keys a moment before, and had none of the token's name, it may have made
// it since. It waits until the provider may be asked again and reports whether that is worth it. Nobody
// needs a right to be here, so that no more than some wait; others are told no at once.
func (l *Logins) AwaitKeys(ctx context.Context, m *structs.ACLAuthMethod, token string, began time.Time) bool {
	known, err := l.known(m)
	if err != nil {
		return false
	}
	memory, ok := known.client.Transport.(*remembering)
	if !ok {
		return false
	}
	due, ok := memory.unknownUntil(keyName(token), began)
	if !ok {
		return false
	}
	defer known.waiting.Add(-1)
	if known.waiting.Add(1) > maxWaiting {
		return false
	}
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// keyName returns the name of the key that a JWT says it is signed with, "" for none.
func keyName(token string) string {
	text, _, _ := strings.Cut(token, ".")
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return ""
	}
	var header struct {
		KeyID string `json:"kid"`
	}
	if json.Unmarshal(b, &header) != nil {
		return ""
	}
	return header.KeyID
}

// unknownUntil returns when the provider may be asked again for the keys, which it gave a
// moment ago without one of the name. It is false if there is no name, if the key
// is known, if it was asked after began, or if the next login asks anyway.
func (m *remembering) unknownUntil(name string, began time.Time) (time.Time, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, last := range m.kept {
		var set struct {
			Keys []struct {
				KeyID string `json:"kid"`
			} `json:"keys"`
		}
		if json.Unmarshal(last.body, &set) != nil || set.Keys == nil || name == "" {
			continue
		}
		for _, k := range set.Keys {
			if k.KeyID == name {
				return time.Time{}, false
			}
		}
		due := last.at.Add(rememberFor)
		return due, last.at.Before(began) && time.Now().Before(due)
	}
	return time.Time{}, false
}

// exchanging asks for the keys anew once the provider took a code: its ID token may be
// signed by a key made since, and the code is of no use twice. Nobody gets there without a good code.
type exchanging struct {
	next http.RoundTripper
	done atomic.Bool
}

// RoundTrip answers as next does.
func (e *exchanging) RoundTrip(r *http.Request) (*http.Response, error) {
	memory, ok := e.next.(*remembering)
	if ok && e.done.Load() && r.Method == http.MethodGet && r.Header.Get("Authorization") == "" {
		return memory.ask(r, r.URL.String())
	}
	resp, err := e.next.RoundTrip(r)
	if err == nil && r.Method == http.MethodPost && resp.StatusCode == http.StatusOK {
		e.done.Store(true)
	}
	return resp, err
}
