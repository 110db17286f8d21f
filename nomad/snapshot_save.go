package nomad

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/archive"
	"github.com/cairn-project/cairn/nomad/structs"
)

// program is what archives say wrote them.
const program = "cairn"

// SaveSnapshot returns an archive of the state: the leader's, which has every write that was
// acknowledged before, or this server's for a stale request. The caller closes it.
func (s *Server) SaveSnapshot(ctx context.Context, r *structs.SnapshotSaveRequest) (resp *structs.SnapshotSaveResponse, body io.ReadCloser, err error) {
	ask := *r
	ask.Passed++
	local := false
	if r.Region != "" && r.Region != s.config.Region {
		if local, err = s.localToken(ctx, r.AuthToken); err != nil {
			return nil, nil, err
		} else if local {
			ask.AuthToken = "" // its secret is nobody's business there
		}
	}
	err = s.routeStream(ctx, &streamHop{info: &snapshotSaveInfo, region: r.Region, stale: r.AllowStale, passed: r.Passed,
		here: func() (err error) {
			resp, body, err = s.saveHere(ctx, r)
			return err
		},
		there: func(conn net.Conn) (err error) {
			resp, body, err = archive.AskSave(ctx, conn, &ask)
			return err
		}})
	return resp, body, s.explainLocal(local, r.Region, err)
}

// explainLocal tells whose token is local to this region why another one refused it.
func (s *Server) explainLocal(local bool, region string, err error) error {
	if local && errors.Is(err, errs.PermissionDenied) {
		return errs.Newf(errs.PermissionDenied, "Permission denied: the token is local to region %q, so that region %q knows its holder as anonymous; use a global token",
			s.config.Region, region)
	}
	return err
}

func (s *Server) saveHere(ctx context.Context, r *structs.SnapshotSaveRequest) (*structs.SnapshotSaveResponse, io.ReadCloser, error) {
	if r.AllowStale {
		if err := s.catchUp.wait(ctx, s.config.RPCHoldTimeout); err != nil {
			return nil, nil, err
		}
	}
	id, err := s.asker(ctx, &snapshotSaveInfo, r.AuthToken, acl.SnapshotSave)
	if err != nil {
		s.audit(&snapshotSaveInfo, id, err)
		return nil, nil, err
	}
	select {
	case s.archives.saving <- struct{}{}:
		defer func() { <-s.archives.saving }()
	default:
		return nil, nil, errs.Newf(errs.Busy, "this server makes %d archives already: try again later, or ask another server with stale", maxSaves).WithRetryAfter(10 * time.Second)
	}
	resp, f, err := s.makeArchive(ctx, r)
	if err != nil {
		s.audit(&snapshotSaveInfo, id, err)
		return nil, nil, err
	}
	s.audit(&snapshotSaveInfo, id, nil, "index", resp.Index, "bytes", resp.Size, "checksum", resp.SnapshotChecksum)
	return resp, f, nil
}

// makeArchive writes an archive of the state as of now into a file, which is at its beginning.
func (s *Server) makeArchive(ctx context.Context, r *structs.SnapshotSaveRequest) (*structs.SnapshotSaveResponse, *os.File, error) {
	start := time.Now()
	if err := s.confirmUnlessStale(ctx, &r.QueryOptions); err != nil {
		return nil, nil, err
	}
	f, err := s.scratchFile()
	if err != nil {
		return nil, nil, err
	}
	resp, err := s.writeArchive(ctx, f)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	s.fillMeta(&resp.QueryMeta)
	s.archives.saves.Add(1)
	s.archives.last.Store(&savedArchive{at: start, took: time.Since(start), size: resp.Size})
	return resp, f, nil
}

func (s *Server) writeArchive(ctx context.Context, f *os.File) (*structs.SnapshotSaveResponse, error) {
	view := &fsmSnapshot{seen: s.fsm.seen.Load(), n: s.fsm} // a little old at worst, nobody goes by it
	view.view = s.state.Snapshot()
	m := archive.Meta{Index: view.seen, Term: s.raft.CurrentTerm(), StateIndex: view.view.Index(), Created: time.Now(),
		Region: s.config.Region, Program: program, ProgramVersion: Version}
	if meta := view.view.ClusterMetadata(nil); meta != nil {
		m.ClusterID = meta.ClusterID
	}
	sum, size := sha256.New(), int64(0)
	checked := int64(0)
	out := bufio.NewWriterSize(writeFunc(func(b []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, errs.Gone(ctx.Err())
		}
		if size >= checked {
			if err := archive.Room(f, 0); err != nil {
				return 0, err
			}
			checked = size + archive.SpareRoom/4
		}
		n, err := f.Write(b)
		size += int64(n)
		sum.Write(b[:n])
		return n, err
	}), 128<<10)
	_, err := archive.Write(out, m, view.write)
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		var known *errs.Error
		if errors.As(err, &known) {
			return nil, err
		}
		return nil, errs.Newf(errs.Unavailable, "the archive could not be written, look at the disk of the data directory: %w", err)
	}
	resp := &structs.SnapshotSaveResponse{SnapshotChecksum: "sha-256=" + base64.StdEncoding.EncodeToString(sum.Sum(nil)), Size: size}
	resp.Index = m.StateIndex
	return resp, nil
}

type writeFunc func([]byte) (int, error)

func (w writeFunc) Write(b []byte) (int, error) { return w(b) }
