package agent

import (
	"context"
	"encoding/json"
	"io"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/client"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// debugger looks into this process for a server that was asked to, maybe by another.
type debugger struct {
	dataDir string
	logFile string
	logger  hclog.Logger
}

// DescribeHost tells what helps to debug this machine.
func (d *debugger) DescribeHost(ctx context.Context) (*structs.AgentHostResponse, error) {
	return client.DescribeHost(ctx, "", d.dataDir)
}

// TakeProfile takes a profile of this process.
func (d *debugger) TakeProfile(ctx context.Context, r *structs.AgentProfileRequest) (*structs.AgentProfileResponse, error) {
	return takeProfile(ctx, r)
}

// FollowLog writes the log of this process to w.
func (d *debugger) FollowLog(ctx context.Context, options json.RawMessage, w io.Writer) (json.RawMessage, error) {
	r := &client.MonitorRequest{}
	if err := readLogOptions(options, r); err != nil {
		return nil, err
	}
	reply, err := client.FollowLog(ctx, d.logger, r, w)
	if err != nil {
		return nil, err
	}
	return json.Marshal(reply)
}

// ExportLog writes what this process logged before to w.
func (d *debugger) ExportLog(ctx context.Context, options json.RawMessage, w io.Writer) (json.RawMessage, error) {
	r := &client.LogExportRequest{}
	if err := readLogOptions(options, r); err != nil {
		return nil, err
	}
	reply, err := client.ExportLog(ctx, d.logFile, r, w)
	if err != nil {
		return nil, err
	}
	return json.Marshal(reply)
}

// readLogOptions reads what is asked of a log, which may be nothing.
func readLogOptions(options json.RawMessage, into any) error {
	if len(options) == 0 {
		return nil
	}
	if err := json.Unmarshal(options, into); err != nil {
		return errs.Wrap(errs.Invalid, "the options of the log cannot be read", err)
	}
	return nil
}

// takeProfile looks at this process. Whoever asks was allowed to.
func takeProfile(ctx context.Context, r *structs.AgentProfileRequest) (*structs.AgentProfileResponse, error) {
	p, err := client.TakeProfile(ctx, &client.ProfileRequest{Kind: r.ReqType, Name: r.Profile, Seconds: r.Seconds, Debug: r.Debug, GC: r.GC > 0})
	if err != nil {
		return nil, err
	}
	return &structs.AgentProfileResponse{Payload: p.Payload, HTTPHeaders: map[string]string{"Content-Type": p.ContentType}}, nil
}
