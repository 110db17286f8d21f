package agent

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/nomad"
)

// While other servers take over, the agent answers, says that it is not healthy,
// and closes every connection after its answer.
func TestAnAgentThatDrainsStillAnswers(t *testing.T) {
	f := newFake()
	f.others = true
	c := DefaultDevConfig()
	c.Client.Enabled = false // the server is what is looked at
	c.NodeName, c.Ports = "n", PortsConfig{}
	a, err := start(c, hclog.NewNullLogger(), func(*nomad.Config) (server, error) { return f, nil })
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) *http.Response {
		t.Helper()
		resp, err := http.Get("http://" + a.HTTPAddr() + path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		return resp
	}
	if resp := get("/v1/agent/health"); resp.Close || resp.StatusCode != http.StatusOK {
		t.Errorf("before: %d, closes %t", resp.StatusCode, resp.Close)
	}
	drained := false
	f.onDrain = func() {
		drained = true
		f.ready = io.ErrUnexpectedEOF
		for range 3 {
			if resp := get("/v1/agent/health"); !resp.Close || resp.StatusCode != http.StatusInternalServerError {
				t.Errorf("while draining: %d, closes %t", resp.StatusCode, resp.Close)
			}
		}
	}
	f.onShutdown = func() {
		if _, err := http.Get("http://" + a.HTTPAddr() + "/v1/agent/health"); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("while the server stops: %v", err)
		}
	}
	if err := a.Stop(false); err != nil || !drained || f.stopped != 1 {
		t.Errorf("stopped %d times, drained %t: %v", f.stopped, drained, err)
	}
}
