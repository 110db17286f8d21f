package agent

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/limit"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/structs"
)

const requestLimits = `limits {
  request_limits {
    mode = "enforcing"
    per_token {
      write {
        rate = 0.5
        burst = 3
      }
      read { rate = 100 }
    }
    per_address { bulk { rate = 2 } }
    global { control { rate = 1000 } }
    in_flight { bulk = 7 }
  }
}
`

func TestRequestLimitsReachTheServer(t *testing.T) {
	c, _, problems := parse(t, requestLimits)
	if problems != "" {
		t.Fatal(problems)
	}
	want := nomad.LimitConfig{Rates: limit.Rates{Mode: limit.Enforcing}}
	want.PerToken.Write = limit.Rate{PerSecond: 0.5, Burst: 3}
	want.PerToken.Read = limit.Rate{PerSecond: 100}
	want.PerAddress.Bulk = limit.Rate{PerSecond: 2}
	want.Global.Control = limit.Rate{PerSecond: 1000}
	want.InFlight.Bulk = 7
	if diff := cmp.Diff(want, c.Limits.RequestLimits.limits()); diff != "" {
		t.Error(diff)
	}
	if got := DefaultConfig().Limits.RequestLimits.limits(); got.Mode != limit.Disabled {
		t.Errorf("without a word the mode is %q", got.Mode)
	}
}

func TestBadRequestLimitsAreExplained(t *testing.T) {
	c := DefaultDevConfig()
	l := &c.Limits.RequestLimits
	l.Mode = "strict"
	l.PerToken.Write = RateConfig{Rate: -1}
	l.Global.Read = RateConfig{Burst: 5}
	l.PerAddress.Bulk = RateConfig{Rate: 1, Burst: -1}
	l.InFlight.Write = -1
	err := c.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		`limits.request_limits.mode "strict"`, "limits.request_limits.per_token.write.rate: must",
		"limits.request_limits.global.read.burst: has no effect without a rate", "limits.request_limits.per_address.bulk.burst: must",
		"limits.request_limits.in_flight.write: must",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
}

// unreadable is a body that must not be read.
type unreadable struct{ t *testing.T }

func (u unreadable) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, os.ErrClosed
}

func TestARefusedRequestIsNotRead(t *testing.T) {
	f := newFake()
	f.chargeErr = errs.New(errs.RateLimited, "too many").WithRetryAfter(1500 * time.Millisecond)
	on(f, "Variables.Apply", func(*structs.VariablesApplyRequest, *structs.VariablesApplyResponse) error {
		t.Error("the call was made")
		return nil
	})
	hr := httptest.NewRequest(http.MethodPut, "/v1/var/a", unreadable{t})
	hr.Header.Set("X-Nomad-Token", "secret")
	w := httptest.NewRecorder()
	testAPI(t, f).ServeHTTP(w, hr)
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "2" || w.Body.String() != "too many" {
		t.Errorf("answered %d, Retry-After %q: %s", w.Code, w.Header().Get("Retry-After"), w.Body)
	}
}

func TestRequestsAreChargedOnceAsWhatTheyCall(t *testing.T) {
	for target, want := range map[string]string{
		"GET /v1/vars":                "Variables.List",
		"GET /v1/var/a":               "Variables.Read",
		"PUT /v1/var/a":               "Variables.Apply",
		"PUT /v1/var/a?lock-renew":    "Variables.RenewLock",
		"PUT /v1/var/a?lock-acquire":  "Variables.Apply",
		"DELETE /v1/var/a":            "Variables.Apply",
		"GET /v1/acl/policy/self":     "ACL.ListPolicies",
		"GET /v1/acl/role/self":       "ACL.ListRoles",
		"GET /v1/status/leader":       "Status.Leader",
		"PUT /v1/node/abc/drain":      "Node.UpdateDrain",
		"GET /v1/agent/health":        "",
		"GET /v1/nowhere":             "",
		"DELETE /v1/agent/health":     "",
		"GET /v1/agent/self?pretty=1": "",
	} {
		method, path, _ := strings.Cut(target, " ")
		f := newFake()
		hr := httptest.NewRequest(method, path, strings.NewReader("{}"))
		hr.Header.Set("X-Nomad-Token", "secret")
		hr.RemoteAddr = "10.1.2.3:4"
		testAPI(t, f).ServeHTTP(httptest.NewRecorder(), hr)
		var all []string
		if want != "" {
			all = []string{want + " secret 10.1.2.3:4"}
		}
		if diff := cmp.Diff(all, f.charged); diff != "" {
			t.Errorf("%s: %s", target, diff)
		}
	}
}

func TestReloadChangesTheRequestLimits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.hcl")
	f := newFlags()
	if err := f.set.Parse([]string{"-dev", "-config", path}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	srv := newFake()
	a := &Agent{config: DefaultDevConfig(), server: srv, logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: &out})}
	reload := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		a.reload(f)
	}
	reload(requestLimits)
	if srv.limits.Mode != limit.Enforcing || srv.limits.PerToken.Write.Burst != 3 {
		t.Errorf("after the reload the server has %+v", srv.limits)
	}
	reload(strings.Replace(requestLimits, "enforcing", "perhaps", 1))
	if srv.limits.Mode != limit.Enforcing || !strings.Contains(out.String(), "not reloaded") {
		t.Errorf("a bad file: the server has %+v, the log %s", srv.limits, &out)
	}
	reload(`limits { http_max_conns_per_client = 3 }`)
	if srv.limits.Mode != limit.Disabled || !strings.Contains(out.String(), "limits of connections change at the next start only") {
		t.Errorf("limits taken out of the file: the server has %+v, the log %s", srv.limits, &out)
	}
}

func TestReplicationTokenIsReloaded(t *testing.T) {
	f := newFake()
	a := &Agent{config: DefaultConfig(), logger: hclog.NewNullLogger(), server: f}
	for _, secret := range []string{"", "one", "one", "two", ""} {
		before := f.replicationToken
		f.replicationToken = "untouched"
		next := DefaultConfig()
		next.ACL.ReplicationToken = secret
		if err := a.reloadReplicationToken(next); err != nil {
			t.Fatal(err)
		}
		if f.replicationToken == "untouched" {
			f.replicationToken = before
		}
		if f.replicationToken != secret {
			t.Errorf("the server copies with %q, not %q", f.replicationToken, secret)
		}
	}
}
