package nomad

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/limit"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// A provider that does not answer holds up logins, which everybody may try, and not
// the writes of others.
func TestLoginsThatWaitLeaveWritesAlone(t *testing.T) {
	s := startEnforced(t)
	root := bootstrapped(t, s)
	const logins = 4
	came, release := make(chan struct{}, logins), make(chan struct{})
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		came <- struct{}{}
		<-release
		w.WriteHeader(http.StatusNotFound)
	}))
	defer provider.Close()
	end := sync.OnceFunc(func() { close(release) })
	defer end()
	for i := range logins {
		m := &structs.ACLAuthMethod{Name: fmt.Sprint("ci-", i), Type: "JWT", TokenLocality: "local", MaxTokenTTL: time.Hour,
			Config: &structs.ACLAuthMethodConfig{OIDCDiscoveryURL: fmt.Sprint(provider.URL, "/", i)}}
		req := &structs.ACLAuthMethodUpsertRequest{AuthMethods: []*structs.ACLAuthMethod{m}, WriteRequest: structs.WriteRequest{AuthToken: root}}
		mustCall(t, s, "ACL.UpsertAuthMethods", req, &structs.ACLAuthMethodUpsertResponse{})
	}
	s.SetLimits(LimitConfig{InFlight: limit.PerClass[int]{Write: logins - 1}})
	s.loginGate.all.Set(limit.PerClass[int]{Write: logins - 1})
	done := make(chan error, logins)
	for i := range logins {
		go func() {
			done <- s.RPC(t.Context(), "ACL.Login", &structs.ACLLoginRequest{AuthMethodName: fmt.Sprint("ci-", i), LoginToken: "a.b.c"}, &structs.ACLLoginResponse{})
		}()
	}
	for range logins - 1 {
		<-came
	}
	for i := range 3 {
		writePolicy(t, s, root, fmt.Sprint("p-", i), `node { policy = "read" }`)
	}
	if err := <-done; !errors.Is(err, errs.Busy) {
		t.Errorf("a login more than may ask: %v", err)
	}
	end()
	for range logins - 1 {
		if err := <-done; !errors.Is(err, errs.Invalid) {
			t.Errorf("a login at a provider that refuses: %v", err)
		}
	}
	if l := s.gate.Loads()[limit.Write]; l.Running != 0 {
		t.Errorf("%d writes run after all have ended", l.Running)
	}
}

// Claims are about people: they go into the log only where an auth method says so.
func TestClaimsAreToldWhenAsked(t *testing.T) {
	for _, verbose := range []bool{false, true} {
		var log bytes.Buffer
		s := &Server{logger: hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Debug}), state: state.New(hclog.NewNullLogger(), nil)}
		m := &structs.ACLAuthMethod{Name: "ci", Config: &structs.ACLAuthMethodConfig{VerboseLogging: verbose}}
		claims := map[string]any{"email": "pat@example.com", "long": strings.Repeat("x", 2*maxClaimBytes)}
		// The method is not stored: the login is told that it changed.
		if err := (&leaderCall{srv: s}).finishLogin(t.Context(), m, claims, &structs.ACLLoginResponse{}); !errors.Is(err, errs.Conflict) {
			t.Errorf("the login ended with %v", err)
		}
		if told := strings.Contains(log.String(), "pat@example.com"); told != verbose || log.Len() > maxClaimBytes+maxToldBytes {
			t.Errorf("verbose %v: the log has %d bytes, the claims %v", verbose, log.Len(), told)
		}
	}
}
