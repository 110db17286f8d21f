package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/nodelink"
)

// LogExportRequest is the argument of Agent.MonitorExport: what was logged, from the
// log file of the agent or from the journal of its service.
type LogExportRequest struct {
	// OnDisk asks for the file that log_file names.
	OnDisk bool
	// ServiceName asks for the journal of a unit of systemd. LogsSince is how far back
	// to begin, such as 12h, and 72h if it is ""; Follow goes on with what comes later.
	ServiceName, LogsSince string
	Follow                 bool
}

// defaultLogsSince is how far back the journal is read.
const defaultLogsSince = 72 * time.Hour

// unitName is a name of systemd; what may be read of the journal is that of agents.
var unitName = regexp.MustCompile(`^[A-Za-z0-9:_.@\\-]{1,255}$`)

// Validate reports what does not fit together.
func (r *LogExportRequest) Validate() error {
	since, err := r.since()
	switch {
	case r.OnDisk == (r.ServiceName != ""):
		return errs.New(errs.Invalid, "give either on_disk or service_name")
	case r.OnDisk && (r.Follow || r.LogsSince != ""):
		return errs.New(errs.Invalid, "follow and logs_since are for service_name: the log file is sent as it is")
	case err != nil || since <= 0:
		return errs.Newf(errs.Invalid, "logs_since %q: must be a duration such as 12h", r.LogsSince)
	case r.OnDisk:
		return nil
	case !unitName.MatchString(r.ServiceName) || strings.HasPrefix(r.ServiceName, "-"):
		return errs.Newf(errs.Invalid, "service_name %q is no name of a service", r.ServiceName)
	case !strings.Contains(r.ServiceName, "cairn") && !strings.Contains(r.ServiceName, "nomad"):
		return errs.Newf(errs.Invalid, "service_name %q: only services with cairn or nomad in their names are shown", r.ServiceName)
	}
	return nil
}

func (r *LogExportRequest) since() (time.Duration, error) {
	if r.LogsSince == "" {
		return defaultLogsSince, nil
	}
	return time.ParseDuration(r.LogsSince)
}

func (c *Client) exportLog(ctx context.Context, call *nodelink.Call, r *LogExportRequest) (*StreamReply, error) {
	return ExportLog(ctx, c.config.LogFile, r, call)
}

// ExportLog writes what was logged to w; file is the log file of this process, "" for
// none. Whoever asks was allowed to.
func ExportLog(ctx context.Context, file string, r *LogExportRequest, w io.Writer) (*StreamReply, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	out := &StreamReply{}
	count := func(b []byte) (int, error) {
		n, err := w.Write(b)
		out.Bytes += int64(n)
		return n, err
	}
	if r.OnDisk {
		return out, exportFile(ctx, file, writerFunc(count))
	}
	return out, exportJournal(ctx, r, writerFunc(count))
}

// writerFunc is a writer that is one function.
type writerFunc func([]byte) (int, error)

// Write calls f.
func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// exportFile writes a log file as far as it goes now: more is logged meanwhile.
func exportFile(ctx context.Context, file string, w io.Writer) error {
	if file == "" {
		return errs.New(errs.Invalid, "this agent keeps no log file: set log_file, or give service_name")
	}
	f, err := os.Open(file)
	if err != nil {
		return errs.Wrap(errs.Internal, "the log file cannot be read", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return errs.Wrap(errs.Internal, "the log file cannot be read", err)
	}
	b := make([]byte, streamChunk)
	for left := info.Size(); left > 0 && ctx.Err() == nil; {
		n, err := f.Read(b[:min(left, int64(len(b)))])
		if n > 0 {
			left -= int64(n)
			if _, err := w.Write(b[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return errs.Wrap(errs.Internal, "the log file cannot be read", err)
		}
	}
	return ctx.Err()
}

// journalWait is how long the reader of the journal may take to end once nobody reads.
const journalWait = 2 * time.Second

// maxComplaint bounds what is kept of the complaints of the reader of the journal.
const maxComplaint = 4 << 10

// exportJournal writes what journalctl says of a unit.
func exportJournal(ctx context.Context, r *LogExportRequest, w io.Writer) error {
	since, _ := r.since() // checked
	args := []string{"--no-pager", "--quiet", "--unit=" + r.ServiceName, fmt.Sprintf("--since=@%d", time.Now().Add(-since).Unix())}
	if r.Follow {
		args = append(args, "--follow", "--no-tail")
	}
	cmd := exec.CommandContext(ctx, "journalctl", args...)
	var complaint bytes.Buffer
	cmd.Stdout, cmd.WaitDelay = w, journalWait
	cmd.Stderr = writerFunc(func(b []byte) (int, error) {
		complaint.Write(b[:min(len(b), maxComplaint-complaint.Len())])
		return len(b), nil
	})
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, exec.ErrNotFound):
		return errs.Wrap(errs.Unsupported, "this machine has no journalctl: set log_file and ask with on_disk", err)
	case err != nil && complaint.Len() > 0:
		return errs.Wrap(errs.Internal, "the journal cannot be read: "+strings.TrimSpace(complaint.String()), err)
	case err != nil:
		return errs.Wrap(errs.Internal, "the journal cannot be read", err)
	}
	return nil
}
