package nomad

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/serf/serf"
	"golang.org/x/time/rate"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/router"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// replicationRate is how many questions a second a region asks the authoritative one.
	replicationRate = 10
	// replicationWait is how long one question waits for a change, replicationGrace
	// how much longer its answer may take.
	replicationWait  = time.Minute
	replicationGrace = 30 * time.Second
	// replicationPause and replicationMaxPause are the first and the longest pause
	// after an error.
	replicationPause    = time.Second
	replicationMaxPause = 30 * time.Second
)

// follower copies one table.
type follower interface {
	name() string
	round(ctx context.Context, p *puller, since cursor) (uint64, error)
}

// cursor is how far a copy has come.
type cursor struct {
	index uint64
	// wait says that a round may wait for a change: the copy was in step.
	wait bool
}

// puller copies from the authoritative region while this server leads.
type puller struct {
	srv     *Server
	limiter *rate.Limiter

	mu     sync.Mutex
	tables map[string]*structs.ReplicatedTable // under mu
}

// startReplication copies what is global from the region that owns it.
func (s *Server) startReplication(t *term) error {
	if s.config.AuthoritativeRegion != "" && !s.auth.Enabled() {
		s.logger.Warn("authoritative_region has no effect while access control is off")
	}
	if !s.copies() {
		return nil
	}
	p := &puller{srv: s, limiter: rate.NewLimiter(replicationRate, replicationRate), tables: map[string]*structs.ReplicatedTable{}}
	for _, f := range copiedTables {
		p.tables[f.name()] = &structs.ReplicatedTable{Table: f.name()}
	}
	for _, f := range copiedTables {
		t.wg.Go(func() { p.follow(t.ctx, f) })
	}
	s.replication.Store(p)
	t.wg.Go(func() {
		<-t.ctx.Done()
		s.replication.CompareAndSwap(p, nil)
	})
	return nil
}

// follow keeps one table in step until ctx ends.
func (p *puller) follow(ctx context.Context, f follower) {
	pause := replicationPause
	for at := (cursor{}); ctx.Err() == nil; {
		next, err := f.round(ctx, p, at)
		if ctx.Err() != nil {
			return
		}
		p.note(f.name(), next, err)
		if at = (cursor{index: next, wait: err == nil}); err == nil {
			pause = replicationPause
			continue
		}
		p.rest(ctx, pause/2+rand.N(pause))
		pause = min(2*pause, replicationMaxPause)
	}
}

// SetReplicationToken replaces the secret with which this region copies. What waits for
// another try after an error tries soon.
func (s *Server) SetReplicationToken(secret string) { s.replicationToken.Store(&secret) }

// replicationSecret returns the secret with which this region copies, "" for none.
func (s *Server) replicationSecret() string {
	if set := s.replicationToken.Load(); set != nil {
		return *set
	}
	return s.config.ACL.ReplicationToken
}

// rest waits after an error, but no longer than until the region comes back or there is
// another secret.
func (p *puller) rest(ctx context.Context, pause time.Duration) {
	secret := p.srv.replicationSecret()
	_, alive := p.srv.router.Pick(p.srv.config.AuthoritativeRegion)
	for end := time.Now().Add(pause); ctx.Err() == nil && time.Now().Before(end); {
		waitFor(ctx.Done(), min(replicationPause, time.Until(end)))
		if _, now := p.srv.router.Pick(p.srv.config.AuthoritativeRegion); now && !alive || p.srv.replicationSecret() != secret {
			return
		}
	}
}

// options are those of a question that the leader there answers.
func (p *puller) options() structs.QueryOptions {
	return structs.QueryOptions{Region: p.srv.config.AuthoritativeRegion, AuthToken: p.srv.replicationSecret()}
}

// watch are the options of a question that any server there answers, where the
// cursor says so once something has changed.
func (p *puller) watch(at cursor) structs.QueryOptions {
	q := p.options()
	q.AllowStale = true
	if at.wait {
		q.MinQueryIndex, q.MaxQueryTime = at.index, replicationWait
	}
	return q
}

// bound limits one question and its answer.
func (p *puller) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, replicationWait+replicationGrace)
}

// pace waits until another question may be asked.
func (p *puller) pace(ctx context.Context) error { return p.limiter.Wait(ctx) }

// mayReadAll makes sure that the answers hide nothing: lists leave out what the
// caller may not see and do not say so.
func (p *puller) mayReadAll(ctx context.Context) error {
	if p.srv.replicationSecret() == "" {
		return errs.New(errs.Invalid, "acl.replication_token is not set: give it the secret of a token of the authoritative region that has the capability replication-read")
	}
	if err := p.pace(ctx); err != nil {
		return err
	}
	var reply structs.ACLWhoAmIResponse
	err := p.srv.RPC(ctx, aclWhoAmI.name, &structs.GenericRequest{QueryOptions: p.options()}, &reply)
	switch {
	case errors.Is(err, errs.PermissionDenied):
		return errs.New(errs.PermissionDenied, "the authoritative region does not know acl.replication_token: give it the secret of a token of that region that has the capability replication-read")
	case err != nil:
		return err
	case reply.Identity == nil || reply.Identity.ACLToken == nil:
		return errReplicationRights
	case reply.Identity.ACLToken.IsManagement():
		return nil
	}
	return p.mayReplicate(ctx)
}

// errReplicationRights keeps a region from taking what it may not see for deleted.
var errReplicationRights = errs.New(errs.PermissionDenied, "acl.replication_token has not the capability replication-read in the authoritative region: "+
	"what it may not see would be deleted here, so nothing is copied")

// mayReplicate asks what a token that is no management token may do.
func (p *puller) mayReplicate(ctx context.Context) error {
	if err := p.pace(ctx); err != nil {
		return err
	}
	ask := &structs.ACLExplainRequest{Kind: string(acl.KindOperator), Capability: string(acl.ReplicationRead), QueryOptions: p.options()}
	var why structs.ACLExplainResponse
	switch err := p.srv.RPC(ctx, aclExplain.name, ask, &why); {
	case errors.Is(err, errs.Invalid): // servers of earlier versions do not know the capability
		return errReplicationRights
	case err != nil:
		return err
	case !why.Allowed:
		return errReplicationRights
	}
	return nil
}

// sameCluster refuses to copy from a cluster that took the place of the one that was
// copied before: it holds nothing yet, and nothing would be left here. A server says
// which cluster it is of once it has a leader, a little later than it answers. Which one
// is copied is in the state, so that it outlives leaders and restarts.
func (p *puller) sameCluster(ctx context.Context) error {
	ids, region := p.srv.clustersOf(p.srv.config.AuthoritativeRegion), p.srv.config.AuthoritativeRegion
	if len(ids) == 0 {
		return errs.Newf(errs.Unavailable, "no server of the region %q has said yet which cluster it is of", region)
	}
	meta := p.srv.state.Snapshot().ClusterMetadata(nil)
	if meta == nil {
		return errs.New(errs.Unavailable, "this region has no cluster ID yet")
	}
	copied := cmp.Or(meta.Copies, ids[0])
	for _, id := range ids {
		if id != copied {
			return errs.Newf(errs.PreconditionFailed, "the region %q is another cluster (%s) than the one that was copied (%s): if it was made anew on purpose, `cairn operator replication accept` in this region copies from it",
				region, id, copied)
		}
	}
	if meta.Copies != "" {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock() // one table of all notes it
	if meta := p.srv.state.Snapshot().ClusterMetadata(nil); meta.Copies != "" {
		return nil // and the next round looks at it
	}
	_, err := p.srv.noteCopied(ctx, &structs.ClusterCopiesRequest{ClusterID: copied})
	return err
}

// clustersOf returns the IDs of the clusters that the live servers of a region say they are of.
func (s *Server) clustersOf(region string) (ids []string) {
	for _, m := range s.serf.Members() {
		id := m.Tags[clusterTag]
		if m.Tags[router.TagRegion] == region && m.Status == serf.StatusAlive && id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// noteCopied notes which cluster is copied. Servers that do not know the entry skip it.
func (s *Server) noteCopied(ctx context.Context, r *structs.ClusterCopiesRequest) (applied, error) {
	return s.apply(ctx, structs.ClusterCopiesRequestType|structs.IgnoreUnknownTypeFlag, r)
}

// note keeps how a round went, and logs an error that is new.
func (p *puller) note(table string, index uint64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t, now := p.tables[table], time.Now().UTC()
	if err == nil {
		if t.LastError != "" {
			p.srv.logger.Info("replication works again", "table", table, "region", p.srv.config.AuthoritativeRegion)
		}
		t.Index, t.LastSync, t.LastError = index, now, ""
		return
	}
	t.Failures++
	if text := err.Error(); text != t.LastError {
		p.srv.logger.Error("cannot copy from the authoritative region, will try again", "table", table, "region", p.srv.config.AuthoritativeRegion, "error", err)
		t.LastError = text
	}
	t.LastErrorTime = now
}

// counted adds to the rows that were written and deleted.
func (p *puller) counted(table string, written, deleted int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tables[table].Written += uint64(written)
	p.tables[table].Deleted += uint64(deleted)
}
