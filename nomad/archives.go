package nomad

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/limit"
	"github.com/cairn-project/cairn/internal/pool"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/archive"
	"github.com/cairn-project/cairn/nomad/auth"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// archivesSince is the first version whose servers can all take an archive from the log.
	archivesSince = "0.1.0"
	// maxSaves is how many archives a server makes at once.
	maxSaves = 2
	// stagedInterval is how often the leader looks for pieces that no restore is about.
	stagedInterval = time.Minute
	// compactRetry is the pause before the log is tried to be shortened again.
	compactRetry = 5 * time.Second
)

// What limits of requests and the checks of peers need to know of the streams.
var (
	snapshotSaveInfo = methodInfo{name: archive.SaveMethod, kind: readKind, class: limit.Bulk, operatorsOnly: true}
	snapshotRestInfo = methodInfo{name: archive.RestoreMethod, kind: writeKind, class: limit.Bulk, operatorsOnly: true}
)

// streamInfo holds the streaming calls that are charged like others, by name.
var streamInfo = map[string]*methodInfo{
	eventStreamInfo.name: &eventStreamInfo, snapshotSaveInfo.name: &snapshotSaveInfo, snapshotRestInfo.name: &snapshotRestInfo,
}

// archives is what a server knows of archives of the state.
type archives struct {
	saving    chan struct{} // a place for each archive that is made
	restoring sync.Mutex    // held by the one restore

	// replaced and shorten receive a value when an archive took the place of the store.
	replaced, shorten chan struct{} // capacity 1

	saves, restores atomic.Uint64
	last            atomic.Pointer[savedArchive] // nil before the first
}

// savedArchive is the last archive that was made here.
type savedArchive struct {
	at   time.Time
	took time.Duration
	size int64
}

func newArchives() *archives {
	return &archives{saving: make(chan struct{}, maxSaves), replaced: make(chan struct{}, 1), shorten: make(chan struct{}, 1)}
}

// tell follows an archive that took the place of the store; it does not block.
func (a *archives) tell() {
	a.restores.Add(1)
	for _, ch := range []chan struct{}{a.replaced, a.shorten} {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// runArchives does what every server does after a restore: it lets links go of nodes that
// are not known any more, and has the log begin after the archive.
func (s *Server) runArchives(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.archives.shorten:
		}
		s.checkLinks()
		for {
			_, err := s.CompactLog()
			if err == nil || ctx.Err() != nil {
				break
			}
			s.logger.Warn("could not shorten the log after an archive was restored, will try again", "after", compactRetry, "error", err)
			if waitFor(ctx.Done(), compactRetry) {
				return
			}
		}
	}
}

// startArchives makes pieces of an archive in the log worthless that a leader left there,
// and later those that a restore of this leader could not take back itself.
func (s *Server) startArchives(t *term) error {
	if err := s.dropStaged(t.ctx); err != nil {
		return err
	}
	s.lookAfter(t, "pieces of archives", stagedInterval, func(ctx context.Context) error {
		if !s.archives.restoring.TryLock() {
			return nil
		}
		defer s.archives.restoring.Unlock()
		return s.dropStaged(ctx)
	})
	return nil
}

// dropStaged ends with ctx, as raft gives no answer while its disk hangs. What is proposed
// may then come later: it is about that archive alone.
func (s *Server) dropStaged(ctx context.Context) error {
	st := s.fsm.staged.Load()
	if st == nil {
		return nil
	}
	s.logger.Warn("a restore was given up by the leader that began it", "archive", st.id)
	dropped := make(chan error, 1)
	go func() {
		dropped <- s.proposeAlone(structs.ArchiveRestoreRequestType, &structs.ArchiveRestoreRequest{ID: st.id, Drop: true})
	}()
	select {
	case err := <-dropped:
		if errors.Is(err, errs.Conflict) {
			return nil
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// asker authenticates the caller of a stream about archives and looks at its rights.
func (s *Server) asker(ctx context.Context, m *methodInfo, secret string, right acl.OperatorCapability) (*auth.Identity, error) {
	id, err := s.authenticate(ctx, secret)
	if err != nil {
		return nil, s.countUnknown(err)
	}
	if !allowsOne(id.ACL, right) {
		s.countDenial(id.ACL, func(a *acl.ACL) { allowsOne(a, right) })
		return id, s.deny(m, id)
	}
	return id, nil
}

// audit tells of a call about the whole state, whatever the level of the log is.
func (s *Server) audit(m *methodInfo, id *auth.Identity, err error, more ...any) {
	log := s.auditLog
	accessor, outcome := "", "ok"
	if id != nil && id.Token != nil {
		accessor = id.Token.AccessorID
	}
	if err != nil {
		outcome = err.Error()
	}
	log.Log(min(max(hclog.Info, log.GetLevel()), hclog.Error), "privileged call",
		append([]any{"method", m.name, "accessor_id", accessor, "outcome", outcome}, more...)...)
}

// streamHop is a streaming call on its way to where it is answered.
type streamHop struct {
	info   *methodInfo
	region string
	stale  bool
	passed int
	// here answers it; there passes it on over a connection to another server. Both may
	// be called again if the error proves that nothing happened.
	here  func() error
	there func(conn net.Conn) error
}

// routeStream is route for a streaming call.
func (s *Server) routeStream(ctx context.Context, h *streamHop) error {
	if h.region != "" && h.region != s.config.Region {
		return s.streamElsewhere(ctx, h)
	}
	if h.stale {
		return h.here()
	}
	pace := hold{deadline: time.Now().Add(s.config.RPCHoldTimeout), step: firstPause}
	for {
		changed := s.leaders.changed()
		err := s.streamToLeader(ctx, h)
		if err == nil || !errs.NotSent(err) || s.ctx.Err() != nil || !pace.wait(ctx, changed) {
			return err
		}
	}
}

func (s *Server) streamToLeader(ctx context.Context, h *streamHop) error {
	if term := s.leadership.Load(); term != nil {
		if !term.established() {
			return &errs.Error{Code: errNotReady.Code, Msg: errNotReady.Msg, Executed: errs.ExecutedNo}
		}
		return h.here()
	}
	leader := s.leaders.current()
	if leader.addr == "" || leader.id == s.nodeID || h.passed >= maxHops {
		return errNotLeader
	}
	conn, err := s.pool.Stream(ctx, leader.addr, h.info.name)
	if err != nil {
		return s.unopened(ctx, err)
	}
	return h.there(conn)
}

// unopened says that a stream that could not be opened did nothing.
func (s *Server) unopened(ctx context.Context, err error) error {
	if ctx.Err() != nil || !pool.Lost(err) {
		return err
	}
	return errs.Lost(errs.ExecutedNo, "no other server could be reached: try again", err)
}

// streamElsewhere passes a streaming call on to a server of another region.
func (s *Server) streamElsewhere(ctx context.Context, h *streamHop) error {
	if h.passed > 0 {
		return errs.Newf(errs.NoPath, "a stream for region %q came to region %q, check the region names of the servers", h.region, s.config.Region)
	}
	err := s.noPath(h.region)
	for range len(s.router.InRegion(h.region)) {
		peer, ok := s.router.Pick(h.region)
		if !ok {
			break
		}
		var conn net.Conn
		if conn, err = s.pool.Stream(ctx, peer.Addr, h.info.name); err == nil {
			return h.there(conn)
		}
		if !pool.Lost(err) {
			return err
		}
		s.router.MarkFailed(peer.Addr)
	}
	return err
}

// serveStream lets a stream about archives in, if the peer may use it.
func (s *Server) serveStream(m *methodInfo, serve func(ctx context.Context, conn net.Conn, refused error) error) wire.StreamHandler {
	return func(ctx context.Context, conn net.Conn, id *wire.Identity) {
		if err := serve(ctx, conn, s.checkPeer(m, id)); err != nil {
			s.logger.Debug("a stream broke off", "method", m.name, "remote", id.Remote, "error", err)
		}
	}
}

func (s *Server) serveSnapshotSave(ctx context.Context, conn net.Conn, refused error) error {
	return archive.ServeSave(ctx, conn, func(ctx context.Context, r *structs.SnapshotSaveRequest) (*structs.SnapshotSaveResponse, io.ReadCloser, error) {
		if refused != nil {
			return nil, nil, refused
		}
		return s.SaveSnapshot(ctx, r)
	})
}

func (s *Server) serveSnapshotRestore(ctx context.Context, conn net.Conn, refused error) error {
	return archive.ServeRestore(ctx, conn, func(ctx context.Context, r *structs.SnapshotRestoreRequest, body io.Reader) (*structs.SnapshotRestoreResponse, error) {
		if refused != nil {
			return nil, refused
		}
		return s.RestoreSnapshot(ctx, r, body)
	})
}

// scratchFile returns an empty file that is gone once it is closed, or the process ends.
func (s *Server) scratchFile() (*os.File, error) {
	dir := s.config.DataDir
	if dir == "" {
		dir = os.TempDir()
	}
	f, err := os.CreateTemp(dir, "archive-")
	if err != nil {
		return nil, errs.Newf(errs.Unavailable, "no file for the archive can be made, look at the data directory: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		s.logger.Warn("a file for an archive stays behind", "path", f.Name(), "error", err)
	}
	return f, nil
}

var (
	descSaves    = prometheus.NewDesc("cairn_snapshot_saves_total", "Archives of the state that this server has made.", nil, nil)
	descRestores = prometheus.NewDesc("cairn_snapshot_restores_total", "Archives that took the place of this server's state since it started.", nil, nil)
	descSaved    = prometheus.NewDesc("cairn_snapshot_last_saved_timestamp_seconds", "When this server made its last archive of the state, 0 for never.", nil, nil)
	descSize     = prometheus.NewDesc("cairn_snapshot_last_saved_bytes", "Size of the last archive that this server made.", nil, nil)
	descTook     = prometheus.NewDesc("cairn_snapshot_last_saved_duration_seconds", "How long it took to make it.", nil, nil)
)

func describeArchives(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descSaves, descRestores, descSaved, descSize, descTook} {
		ch <- d
	}
}

func (a *archives) collect(ch chan<- prometheus.Metric) {
	var at, size, took float64
	if last := a.last.Load(); last != nil {
		at, size, took = float64(last.at.Unix()), float64(last.size), last.took.Seconds()
	}
	ch <- prometheus.MustNewConstMetric(descSaves, prometheus.CounterValue, float64(a.saves.Load()))
	ch <- prometheus.MustNewConstMetric(descRestores, prometheus.CounterValue, float64(a.restores.Load()))
	ch <- prometheus.MustNewConstMetric(descSaved, prometheus.GaugeValue, at)
	ch <- prometheus.MustNewConstMetric(descSize, prometheus.GaugeValue, size)
	ch <- prometheus.MustNewConstMetric(descTook, prometheus.GaugeValue, took)
}
