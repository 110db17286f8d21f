package command

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/nomad/api"
)

// serveAutopilot adds settings that can be changed, and one healthy server, to the model.
func serveAutopilot(mux *http.ServeMux) {
	var mu sync.Mutex
	conf := &api.AutopilotConfiguration{MaxTrailingLogs: 250, ModifyIndex: 7}
	mux.HandleFunc("GET /v1/operator/autopilot/configuration", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		answer(w, conf)
	})
	mux.HandleFunc("PUT /v1/operator/autopilot/configuration", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		var given api.AutopilotConfiguration
		if err := json.NewDecoder(r.Body).Decode(&given); err != nil || given.MaxTrailingLogs == 0 {
			http.Error(w, "invalid autopilot configuration: MaxTrailingLogs must be positive", http.StatusBadRequest)
			return
		}
		conf = &given
		answer(w, true)
	})
	mux.HandleFunc("GET /v1/operator/autopilot/health", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, &api.OperatorHealthReply{Healthy: true, Servers: []api.ServerHealth{{ID: "id-s2", SerfStatus: "alive"}}})
	})
}

func autopilotSettings() map[string]any {
	return map[string]any{"CleanupDeadServers": true, "LastContactThreshold": "200ms", "MaxTrailingLogs": 250, "MinQuorum": 3,
		"ServerStabilizationTime": "10s", "CreateIndex": 3, "ModifyIndex": 7}
}

func TestAutopilotSettingsAreShown(t *testing.T) {
	f := newFakeAgent(t, map[string]reply{"GET /v1/operator/autopilot/configuration": {body: autopilotSettings()}})
	f.run("operator", "autopilot", "get-config").expect(t, 0, []string{"Cleanup Dead Servers      = yes", "Min Quorum                = 3",
		"Server Stabilization Time = 10s", "Last Contact Threshold    = 200ms", "Max Trailing Logs         = 250", "Modify Index              = 7"}, nil)
	f.run("operator", "autopilot", "get-config", "-json").expect(t, 0, []string{`"LastContactThreshold": "200ms"`}, nil)
}

func TestAutopilotSettingsAreChanged(t *testing.T) {
	replies := map[string]reply{
		"GET /v1/operator/autopilot/configuration":       {body: autopilotSettings()},
		"PUT /v1/operator/autopilot/configuration?cas=7": {body: true},
	}
	f := newFakeAgent(t, replies)
	f.run("operator", "autopilot", "set-config").expect(t, 1, nil, []string{"at least one setting"})
	f.run("operator", "autopilot", "set-config", "-min-quorum", "-1").expect(t, 1, nil, []string{"min-quorum"})
	f.run("operator", "autopilot", "set-config", "-cleanup-dead-servers=false", "-min-quorum", "5").expect(t, 0, []string{"settings changed"}, nil)
	body := f.last().body
	for _, want := range []string{`"CleanupDeadServers":false`, `"MinQuorum":5`, `"LastContactThreshold":"200ms"`, `"ServerStabilizationTime":"10s"`, `"MaxTrailingLogs":250`} {
		if !strings.Contains(body, want) {
			t.Errorf("sent %s, without %s", body, want)
		}
	}
	f.run("operator", "autopilot", "set-config", "-last-contact-threshold", "1s", "-server-stabilization-time", "1m", "-max-trailing-logs", "9").expect(t, 0, nil, nil)
	if body := f.last().body; !strings.Contains(body, `"LastContactThreshold":"1s"`) || !strings.Contains(body, `"ServerStabilizationTime":"1m0s"`) ||
		!strings.Contains(body, `"MaxTrailingLogs":9`) || !strings.Contains(body, `"CleanupDeadServers":true`) {
		t.Errorf("sent %s", body)
	}

	replies["PUT /v1/operator/autopilot/configuration?cas=7"] = reply{body: false}
	newFakeAgent(t, replies).run("operator", "autopilot", "set-config", "-min-quorum", "5").expect(t, 2, nil, []string{"somebody else", "get-config"})
	replies["PUT /v1/operator/autopilot/configuration?cas=7"] = reply{status: 400, body: "MaxTrailingLogs must be positive"}
	newFakeAgent(t, replies).run("operator", "autopilot", "set-config", "-max-trailing-logs", "0").expect(t, 1, nil, []string{"must be positive"})
}

func TestAutopilotHealth(t *testing.T) {
	server := map[string]any{"ID": "id-s1", "Name": "s1.global", "Address": "10.0.0.1:4647", "SerfStatus": "alive", "Version": "0.1.0", "Leader": true,
		"LastContact": "1.2345s", "LastTerm": 2, "LastIndex": 9, "Healthy": true, "Voter": true, "StableSince": "2026-01-02T03:04:05Z"}
	body := map[string]any{"Healthy": true, "FailureTolerance": 1, "Leader": "id-s1", "Voters": []string{"id-s1"}, "Servers": []any{server}}
	const path = "GET /v1/operator/autopilot/health"
	newFakeAgent(t, map[string]reply{path: {body: body}}).run("operator", "autopilot", "health").expect(t, 0, []string{
		"Healthy           = yes", "Failure Tolerance = 1", "Leader            = id-s1",
		"s1.global  id-s1  10.0.0.1:4647  alive        0.1.0    yes     yes    yes      1.235s        2          9           2026-01-02T03:04:05Z"}, nil)

	first := maps.Clone(server)
	first["Name"], body["Servers"] = "s0.global", []any{server, first}
	r := newFakeAgent(t, map[string]reply{path: {body: body}}).run("operator", "autopilot", "health")
	if at := strings.Index(r.stdout, "s0.global"); at < 0 || at > strings.Index(r.stdout, "s1.global") {
		t.Errorf("not in the order of names:\n%s", r.stdout)
	}
	body["Healthy"], server["Healthy"] = false, false
	f := newFakeAgent(t, map[string]reply{path: {status: 429, body: body}})
	f.run("operator", "autopilot", "health").expect(t, 2, []string{"Healthy           = no", "s1.global"}, nil)
	f.run("operator", "autopilot", "health", "-json").expect(t, 2, []string{`"LastContact": "1.2345s"`, `"Healthy": false`}, nil)

	f = newFakeAgent(t, map[string]reply{path: {status: 429, body: "too many requests"}})
	f.run("operator", "autopilot", "health").expect(t, 1, nil, []string{"too many requests"})
}
