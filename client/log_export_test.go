package client_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-project/cairn/client"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

func TestLogExportRequests(t *testing.T) {
	for name, r := range map[string]client.LogExportRequest{
		"nothing":             {},
		"both":                {OnDisk: true, ServiceName: "cairn"},
		"a file is no stream": {OnDisk: true, Follow: true},
		"all of a file":       {OnDisk: true, LogsSince: "1h"},
		"another's journal":   {ServiceName: "sshd"},
		"an option":           {ServiceName: "-cairn"},
		"two words":           {ServiceName: "cairn sshd"},
		"a pattern":           {ServiceName: "*cairn*"},
		"no time":             {ServiceName: "cairn", LogsSince: "yesterday"},
		"the future":          {ServiceName: "cairn", LogsSince: "-1h"},
	} {
		if err := r.Validate(); !errors.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, r := range []client.LogExportRequest{{OnDisk: true}, {ServiceName: "cairn.service", LogsSince: "12h", Follow: true}, {ServiceName: "nomad@a"}} {
		if err := r.Validate(); err != nil {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

// The log file of an agent comes over its link as far as it goes.
func TestLogFileIsExported(t *testing.T) {
	dir := t.TempDir()
	file, text := filepath.Join(dir, "agent.log"), strings.Repeat("a line of the log\n", 5000)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, c := linked(t, filepath.Join(dir, "state"), func(c *client.Config) { c.LogFile = file })
	var got bytes.Buffer
	end, err := s.StreamNode(t.Context(), &structs.NodeCallRequest{NodeID: c.NodeID(), Method: "Agent.MonitorExport", Body: []byte(`{"OnDisk":true}`)}, &got)
	if err != nil || got.String() != text || string(end) != `{"Bytes":90000}` {
		t.Errorf("%d bytes, %s, %v", got.Len(), end, err)
	}
	if _, err := client.ExportLog(t.Context(), "", &client.LogExportRequest{OnDisk: true}, &got); !errors.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "log_file") {
		t.Errorf("without a file: %v", err)
	}
}

// fakeJournal puts a journalctl into the path that says what it was asked for and
// does something then.
func fakeJournal(t *testing.T, then string) {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\necho \"$@\"\n" + then + "\n"
	if err := os.WriteFile(filepath.Join(dir, "journalctl"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestJournalIsExported(t *testing.T) {
	fakeJournal(t, "exit 0")
	var got bytes.Buffer
	end, err := client.ExportLog(t.Context(), "", &client.LogExportRequest{ServiceName: "cairn"}, &got)
	if err != nil || !strings.HasPrefix(got.String(), "--no-pager --quiet --unit=cairn --since=@") || end.Bytes != int64(got.Len()) {
		t.Errorf("%q, %+v, %v", got.String(), end, err)
	}
	fakeJournal(t, "echo no such unit >&2; exit 1")
	if _, err := client.ExportLog(t.Context(), "", &client.LogExportRequest{ServiceName: "cairn"}, &got); err == nil || !strings.Contains(err.Error(), "no such unit") {
		t.Errorf("a journal that complains: %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := client.ExportLog(t.Context(), "", &client.LogExportRequest{ServiceName: "cairn"}, &got); !errors.Is(err, errs.Unsupported) {
		t.Errorf("a machine without one: %v", err)
	}
}

// One that is followed ends with whoever follows it.
func TestJournalIsFollowed(t *testing.T) {
	fakeJournal(t, "exec sleep 1000")
	ctx, cancel := context.WithCancel(t.Context())
	r := &logReader{want: "--follow --no-tail", end: cancel}
	if _, err := client.ExportLog(ctx, "", &client.LogExportRequest{ServiceName: "cairn", Follow: true}, r); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
