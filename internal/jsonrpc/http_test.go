package jsonrpc

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHTTPStatus(t *testing.T) {
	cfg := DefaultConfig()
	cfg.MaxMessage = 100
	s := mustServer(t, cfg)
	mustRegister(t, s, conformanceCounters()...)
	srv := httptest.NewServer(s.HTTP(func(r *http.Request) Caller {
		return Caller{Transport: TransportHTTP, Remote: r.RemoteAddr, Token: r.Header.Get("X-Nomad-Token")}
	}))
	defer srv.Close()
	const json = "application/json"
	big := `{"x":"` + strings.Repeat("x", 100) + `"}`
	for _, c := range []struct {
		method, media, body string
		status              int
		want                string
	}{
		{"POST", json, call("bump_count"), 200, `"result":0`},
		{"POST", json + "; charset=UTF-8", call("bump_count"), 200, `"result":0`},
		{"POST", "Application/JSON;charset=Utf-8", call("bump_count"), 200, `"result":0`},
		{"POST", json + "; version=2", call("bump_count"), 200, `"result":0`},
		{"POST", "application/json-rpc", call("bump_count"), 200, `"result":0`},
		{"POST", json, "\n" + call("bump_count") + "\r\n", 200, `"result":0`},
		{"POST", json, call("nope"), 200, "-32601"},
		{"POST", json, "{", 200, "-32700"},
		{"POST", json, "", 200, "-32700"},
		{"POST", json, call("bump_count") + call("bump_count"), 200, "-32700"},
		{"POST", json, `{"jsonrpc":"2.0","method":"update"}`, 204, ""},
		{"POST", json, big, 413, `-32001`},
		{"POST", "", call("bump_count"), 415, "application/json"},
		{"POST", "text/plain", call("bump_count"), 415, "application/json"},
		{"POST", json + "; charset=latin1", call("bump_count"), 415, "application/json"},
		{"POST", json + ", text/plain", call("bump_count"), 415, "application/json"},
		{"POST", "application/x-www-form-urlencoded", call("bump_count"), 415, "application/json"},
		{"GET", json, "", 405, "POST"},
		{"HEAD", json, "", 405, ""},
		{"OPTIONS", "", "", 405, "POST"},
		{"PUT", json, call("bump_count"), 405, "POST"},
		{"DELETE", "", "", 405, "POST"},
	} {
		for _, chunked := range []bool{false, true} {
			var body io.Reader = strings.NewReader(c.body)
			if chunked {
				body = io.MultiReader(body)
			}
			req, err := http.NewRequest(c.method, srv.URL, body)
			if err != nil {
				t.Fatal(err)
			}
			if c.media != "" {
				req.Header.Set("Content-Type", c.media)
			}
			res, err := srv.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if res.StatusCode != c.status || !strings.Contains(string(got), c.want) || (c.want == "" && len(got) != 0) {
				t.Errorf("%s %s %s: %d %s", c.method, c.media, c.body, res.StatusCode, got)
			}
			if c.status == 405 && res.Header.Get("Allow") != "POST" {
				t.Errorf("%s: Allow is %q", c.method, res.Header.Get("Allow"))
			}
		}
	}
}

// TestHTTPBodiesAreNotDecoded: a compressed message is refused for what it is, and not
// taken for one that is no JSON.
func TestHTTPBodiesAreNotDecoded(t *testing.T) {
	s := mustServer(t, DefaultConfig())
	srv := httptest.NewServer(s.HTTP(func(*http.Request) Caller { return Caller{Transport: TransportHTTP} }))
	defer srv.Close()
	for encoding, want := range map[string]int{"": 200, "identity": 200, "Identity": 200, "gzip": 415, "deflate, identity": 415} {
		req, err := http.NewRequest("POST", srv.URL, strings.NewReader(call("ping")))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		if encoding != "" {
			req.Header.Set("Content-Encoding", encoding)
		}
		res, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != want || (want == 415) != (res.Header.Get("Accept-Encoding") == "identity") {
			t.Errorf("%q: %d %q %s", encoding, res.StatusCode, res.Header.Get("Accept-Encoding"), body)
		}
	}
}

func TestHTTPCallEndsWithItsClient(t *testing.T) {
	s := testServer(t)
	began, ended, _ := blocking(t, s)
	srv := httptest.NewServer(s.HTTP(func(*http.Request) Caller { return Caller{Transport: TransportHTTP} }))
	defer srv.Close()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, "POST", srv.URL, strings.NewReader(call("block")))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	done := make(chan error, 1)
	go func() {
		_, err := srv.Client().Do(req)
		done <- err
	}()
	<-began
	cancel()
	if err := <-ended; err == nil {
		t.Error("the context did not end")
	}
	if err := <-done; err == nil {
		t.Error("answered")
	}
}
