package structs

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAutopilotDurationsAreText(t *testing.T) {
	conf := DefaultAutopilotConfig()
	conf.CreateIndex, conf.ModifyIndex = 3, 4
	b, err := json.Marshal(conf)
	if err != nil || !strings.Contains(string(b), `"ServerStabilizationTime":"10s"`) || !strings.Contains(string(b), `"LastContactThreshold":"200ms"`) {
		t.Fatalf("%s, %v", b, err)
	}
	var back AutopilotConfig
	if err := json.Unmarshal(b, &back); err != nil || back != conf {
		t.Errorf("back %+v, %v", back, err)
	}
	if err := json.Unmarshal([]byte(`{"ServerStabilizationTime":5000000000,"LastContactThreshold":""}`), &back); err != nil ||
		back.ServerStabilizationTime != 5*time.Second || back.LastContactThreshold != 0 {
		t.Errorf("numbers: %+v, %v", back, err)
	}
	for _, bad := range []string{`{"ServerStabilizationTime":"soon"}`, `{"LastContactThreshold":true}`, `{"MinQuorum":-1}`, `{"MaxTrailingLogs":1.5}`, `[]`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
	health := ServerHealth{ID: "a", LastContact: 1500 * time.Microsecond, Healthy: true, StableSince: time.Unix(1, 0).UTC()}
	if b, err = json.Marshal(&health); err != nil || !strings.Contains(string(b), `"LastContact":"1.5ms"`) {
		t.Fatalf("%s, %v", b, err)
	}
	var same ServerHealth
	if err := json.Unmarshal(b, &same); err != nil || cmp.Diff(health, same) != "" {
		t.Errorf("back %+v, %v", same, err)
	}
}

func FuzzAutopilotConfigJSON(f *testing.F) {
	f.Add([]byte(`{"CleanupDeadServers":true,"ServerStabilizationTime":"10s","LastContactThreshold":200000000,"MaxTrailingLogs":250,"MinQuorum":3}`))
	f.Add([]byte(`{"ServerStabilizationTime":1e300}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var conf, back AutopilotConfig
		if json.Unmarshal(b, &conf) != nil {
			return
		}
		out, err := json.Marshal(conf)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(out, &back); err != nil || back != conf {
			t.Fatalf("%s became %+v, %v", out, back, err)
		}
	})
}
