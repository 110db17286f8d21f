package nomad_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/archive"
	"github.com/cairn-project/cairn/nomad/keyring"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// saved is an archive in memory.
type saved struct {
	bytes []byte
	*structs.SnapshotSaveResponse
}

func save(n *nomadtest.Node, opts structs.QueryOptions) (*saved, error) {
	resp, body, err := n.SaveSnapshot(context.Background(), &structs.SnapshotSaveRequest{QueryOptions: opts})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	return &saved{b, resp}, err
}

func mustSave(t *testing.T, n *nomadtest.Node) *saved {
	t.Helper()
	s, err := save(n, structs.QueryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(s.bytes)
	if want := "sha-256=" + base64.StdEncoding.EncodeToString(sum[:]); s.SnapshotChecksum != want || s.Size != int64(len(s.bytes)) {
		t.Fatalf("%d bytes with the sum %s came, and %d with %s were promised", len(s.bytes), want, s.Size, s.SnapshotChecksum)
	}
	return s
}

func restore(n *nomadtest.Node, archive []byte, opts structs.WriteRequest) (*structs.SnapshotRestoreResponse, error) {
	return n.RestoreSnapshot(context.Background(), &structs.SnapshotRestoreRequest{WriteRequest: opts}, bytes.NewReader(archive))
}

func mustRestore(t *testing.T, n *nomadtest.Node, archive []byte) *structs.SnapshotRestoreResponse {
	t.Helper()
	resp, err := restore(n, archive, structs.WriteRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// mustAgree waits until all servers that run have applied all, and compares their states.
func mustAgree(t *testing.T, c *nomadtest.Cluster) []byte {
	t.Helper()
	mustPut(t, c.WaitLeader(), "agree", uuid.NewString())
	c.WaitReady()
	leader := c.WaitLeader()
	want := leader.StateBytes()
	for _, n := range c.Nodes {
		within(t, "the same state on every server", func() bool {
			synctest.Wait()
			want = leader.StateBytes()
			return bytes.Equal(n.StateBytes(), want)
		})
	}
	return want
}

// values reads variables by stale reads of one server.
func values(t *testing.T, n *nomadtest.Node, paths ...string) (out []string) {
	t.Helper()
	for _, path := range paths {
		got, err := n.Get(t.Context(), path, structs.QueryOptions{AllowStale: true})
		switch {
		case err != nil:
			t.Fatal(err)
		case got.Data == nil:
			out = append(out, "-")
		default:
			out = append(out, got.Data.Items["v"])
		}
	}
	return out
}

func TestAnArchiveBringsTheStateBack(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		mustPut(t, c.WaitLeader(), "a", "old")
		mustPut(t, c.WaitLeader(), "b", "kept")
		s := mustSave(t, c.Follower())
		mustPut(t, c.WaitLeader(), "a", "new")
		last := mustPut(t, c.WaitLeader(), "c", "lost")

		away := c.Follower()
		c.Crash(away)
		resp := mustRestore(t, c.Follower(), s.bytes)
		if resp.Index <= last || resp.Before < last || resp.ArchiveIndex != s.Index {
			t.Errorf("%+v after %d, saved at %d", resp, last, s.Index)
		}
		if got := mustGet(t, c.WaitLeader(), "a"); got != "old" {
			t.Errorf("a is %q", got)
		}
		c.Restart(away)
		mustPut(t, c.WaitLeader(), "d", "after")
		first := mustAgree(t, c)
		for _, n := range c.Nodes {
			if got := values(t, n, "a", "b", "c", "d"); !slices.Equal(got, []string{"old", "kept", "-", "after"}) {
				t.Errorf("%s has %q", n.Host, got)
			}
			if n.Staged() {
				t.Error("pieces of the archive are left")
			}
		}
		for _, n := range c.Nodes {
			c.Crash(n)
		}
		for _, n := range c.Nodes {
			c.Restart(n)
		}
		c.WaitLeader()
		again := mustAgree(t, c)
		if len(first) == 0 || len(again) == 0 {
			t.Error("a server has no state")
		}
		for _, n := range c.Nodes {
			if got := values(t, n, "a", "b", "c", "d"); !slices.Equal(got, []string{"old", "kept", "-", "after"}) {
				t.Errorf("%s has %q after a restart", n.Host, got)
			}
		}
		if s := mustSave(t, c.WaitLeader()); s.Index <= resp.Index {
			t.Errorf("saved at %d after a restore at %d", s.Index, resp.Index)
		}
	}, func(conf *nomad.Config) { conf.Raft.TrailingLogs, conf.Raft.SnapshotThreshold = 2, 1<<40 })
}

// A follower that was away gets the state as a snapshot of Raft, one that restarts reads
// the archive from its log: both come to the same state.
func TestServersComeToTheRestoredStateByAnyWay(t *testing.T) {
	for _, trailing := range []uint64{0, 1 << 20} {
		t.Run(fmt.Sprint(trailing), func(t *testing.T) {
			nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
				mustPut(t, c.WaitLeader(), "a", "old")
				s := mustSave(t, c.WaitLeader())
				mustPut(t, c.WaitLeader(), "a", "new")
				away := c.Follower()
				c.Crash(away)
				mustRestore(t, c.WaitLeader(), s.bytes)
				mustPut(t, c.WaitLeader(), "b", "after")
				other := c.Follower()
				c.Crash(other)
				c.Restart(other)
				c.Restart(away)
				c.WaitLeader()
				mustAgree(t, c)
				for _, n := range c.Nodes {
					if got := values(t, n, "a", "b"); !slices.Equal(got, []string{"old", "after"}) {
						t.Errorf("%s has %q", n.Host, got)
					}
				}
			}, func(conf *nomad.Config) { conf.Raft.TrailingLogs, conf.Raft.SnapshotThreshold = trailing, 1<<40 })
		})
	}
}

// What is applied, which reads wait for, goes on from the entry that restored, on every
// server: one that took a higher one for applied would read what is old, once it leads.
func TestReadsAreExactAfterARestore(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		mustPut(t, c.WaitLeader(), "a", "old")
		s := mustSave(t, c.WaitLeader())
		exact := func(when, want string) {
			t.Helper()
			for _, n := range c.Nodes {
				if got := mustGet(t, n, "a"); got != want {
					t.Errorf("%s: a is %q through %s, and should be %q", when, got, n.Host, want)
				}
			}
		}
		settled := func(when string) {
			t.Helper()
			mustAgree(t, c) // the last entry is a write, so that the store has all
			for _, n := range c.Nodes {
				if known, raft := n.Applied(); known != raft {
					t.Errorf("%s: %s takes entry %d for the last, and has applied %d", when, n.Host, known, raft)
				}
			}
		}
		for round, n := range c.Nodes {
			for range 5 {
				mustPut(t, n, "a", "new")
			}
			mustRestore(t, n, s.bytes)
			exact("straight after a restore", "old")
			settled("after a restore")
			for i := range 6 {
				value := fmt.Sprint(round, " ", i)
				mustPut(t, c.Nodes[i%3], "a", value)
				exact("between writes", value)
			}
			mustRestore(t, c.Follower(), s.bytes)
			next := c.Follower()
			req := &structs.RaftPeerRequest{Address: raft.ServerAddress(next.Host + ":4647")}
			if err := c.WaitLeader().RPC(t.Context(), "Operator.TransferLeadershipToPeer", req, &structs.LeadershipTransferResponse{}); err != nil {
				t.Fatal(err)
			}
			exact("straight after another leads", "old")
			mustPut(t, n, "a", "next")
			exact("another leads", "next")
		}
		for _, n := range c.Nodes {
			c.Crash(n)
			c.Restart(n)
			exact("after a restart", "next")
		}
		settled("after restarts")
	}, func(conf *nomad.Config) { conf.Raft.TrailingLogs, conf.Raft.SnapshotThreshold = 2, 1<<40 })
}

// The index of what clients see never falls, so that who waits for a change wakes.
func TestWhoWaitsForAChangeSeesARestore(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		mustPut(t, c.WaitLeader(), "a", "1")
		s := mustSave(t, c.WaitLeader())
		var last uint64
		for i := range 20 {
			last = mustPut(t, c.WaitLeader(), "a", strconv.Itoa(i))
			mustPut(t, c.WaitLeader(), "gone", "x")
		}
		var wg sync.WaitGroup
		for _, n := range c.Nodes {
			for _, stale := range []bool{true, false} {
				for _, path := range []string{"a", "gone", "never"} {
					wg.Go(func() {
						start := time.Now()
						got, err := n.Get(t.Context(), path, structs.QueryOptions{MinQueryIndex: last, MaxQueryTime: 5 * time.Minute, AllowStale: stale})
						if err != nil || got.Index <= last || time.Since(start) > time.Minute {
							t.Errorf("%s, stale %t: %v, index %d after %v", path, stale, err, got.Index, time.Since(start))
						}
					})
				}
			}
		}
		admin := caller{c.Follower(), t, ""}
		events := admin.follow(structs.EventStreamRequest{})
		synctest.Wait()
		resp := mustRestore(t, c.Follower(), s.bytes)
		wg.Wait()
		within(t, "the end of a stream of events", func() bool {
			select {
			case <-events.done:
				return true
			default:
				return false
			}
		})
		if !errors.Is(events.err, errs.PreconditionFailed) || !strings.Contains(events.err.Error(), "restored") {
			t.Errorf("the stream of events ended with %v", events.err)
		}
		// And who has seen a greater index from before can ask with it.
		got, err := c.WaitLeader().Get(t.Context(), "a", structs.QueryOptions{MinQueryIndex: resp.Before, MaxQueryTime: 5 * time.Minute})
		if err != nil || got.Index != resp.Index || got.Data.Items["v"] != "1" {
			t.Errorf("%+v, %v", got, err)
		}
		if next := mustPut(t, c.WaitLeader(), "b", "1"); next <= resp.Index {
			t.Errorf("a write has the index %d, the restore had %d", next, resp.Index)
		}
	})
}

func TestArchivesThatAreNotWhole(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		n := c.Nodes[0]
		mustPut(t, n, "a", "1")
		good := mustSave(t, n).bytes
		mustPut(t, n, "a", "2")
		before := n.StateBytes()
		flipped := bytes.Clone(good)
		flipped[len(flipped)/2] ^= 1
		remade := func(change func(*archive.Meta), state func([]byte) []byte) []byte {
			a, err := archive.Open(bytes.NewReader(good))
			if err != nil {
				t.Fatal(err)
			}
			raw, err := io.ReadAll(a)
			if err != nil {
				t.Fatal(err)
			}
			change(&a.Meta)
			var out bytes.Buffer
			if _, err := archive.Write(&out, a.Meta, func(w io.Writer) error { _, err := w.Write(state(raw)); return err }); err != nil {
				t.Fatal(err)
			}
			return out.Bytes()
		}
		same := func(b []byte) []byte { return b }
		for name, tc := range map[string]struct {
			archive []byte
			want    string
		}{
			"nothing":        {nil, "this is no archive"},
			"something else": {[]byte(strings.Repeat("hello ", 100)), "this is no archive"},
			"cut short":      {good[:len(good)*2/3], "cut short"},
			"the last byte":  {good[:len(good)-1], "cut short"},
			"a wrong bit":    {flipped, "damaged"},
			"more":           {append(bytes.Clone(good), good...), "bytes follow its end"},
			"another region": {remade(func(m *archive.Meta) { m.Region = "elsewhere" }, same), `of the region "elsewhere"`},
			"another state":  {remade(func(*archive.Meta) {}, func(b []byte) []byte { return []byte("CAIRNXX1 and nothing") }), "not a snapshot of this program"},
			"a part of one":  {remade(func(*archive.Meta) {}, func(b []byte) []byte { return b[:len(b)-9] }), "cut after record"},
		} {
			_, err := restore(n, tc.archive, structs.WriteRequest{})
			if err == nil || !strings.Contains(err.Error(), tc.want) || errs.CodeOf(err) == errs.Internal {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := n.RestoreSnapshot(t.Context(), &structs.SnapshotRestoreRequest{}, io.MultiReader(bytes.NewReader(good[:99]), iotest.ErrReader(io.ErrClosedPipe))); !errors.Is(err, errs.Invalid) {
			t.Errorf("a body that breaks off: %v", err)
		}
		if !bytes.Equal(n.StateBytes(), before) || n.Staged() {
			t.Error("something changed")
		}
		elsewhere := remade(func(m *archive.Meta) { m.Region, m.ClusterID = "elsewhere", uuid.NewString() }, same)
		if _, err := n.RestoreSnapshot(t.Context(), &structs.SnapshotRestoreRequest{OtherRegion: true}, bytes.NewReader(elsewhere)); err != nil || mustGet(t, n, "a") != "1" {
			t.Errorf("an archive of another region, where that is meant: %v", err)
		}
	})
}

// sealer wraps as another provider would.
type sealer struct{ name string }

func (s sealer) Name() string { return s.name }

func (s sealer) Wrap(_ context.Context, m keyring.Material) (*structs.WrappedKey, error) {
	return &structs.WrappedKey{Provider: s.name, DataEncryptionKey: m.DataKey, RSAKey: m.SigningKey}, nil
}

func (s sealer) Unwrap(_ context.Context, id string, w *structs.WrappedKey) (keyring.Material, error) {
	return keyring.Material{KeyID: id, DataKey: w.DataEncryptionKey, SigningKey: w.RSAKey}, nil
}

func TestAnArchiveWhoseKeysCannotBeReadIsRefused(t *testing.T) {
	var archive []byte
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		mustPut(t, c.Nodes[0], "a", "1")
		archive = mustSave(t, c.Nodes[0]).bytes
	}, func(conf *nomad.Config) { conf.KeyProviders = []keyring.Provider{sealer{"vault"}} })
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		mustPut(t, c.Nodes[0], "a", "2")
		before := c.Nodes[0].StateBytes()
		_, err := restore(c.Nodes[0], archive, structs.WriteRequest{})
		if !errors.Is(err, errs.PreconditionFailed) || !strings.Contains(err.Error(), `"vault"`) || !strings.Contains(err.Error(), "root key") {
			t.Error(err)
		}
		if !bytes.Equal(before, c.Nodes[0].StateBytes()) {
			t.Error("something changed")
		}
	})
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		before := mustSave(t, c.Nodes[0])
		mustRestore(t, c.Nodes[0], archive) // of another cluster: fresh after a disaster
		if got := mustGet(t, c.Nodes[0], "a"); got != "1" {
			t.Errorf("a is %q", got)
		}
		if a, b := clusterIn(t, before.bytes), clusterIn(t, mustSave(t, c.Nodes[0]).bytes); a != b || a == clusterIn(t, archive) {
			t.Errorf("the cluster's ID is %s, was %s", b, a)
		}
	}, func(conf *nomad.Config) { conf.KeyProviders = []keyring.Provider{sealer{"vault"}} })
}

func clusterIn(t *testing.T, b []byte) string {
	t.Helper()
	a, err := archive.Open(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return a.Meta.ClusterID
}

// A leader that dies in the middle leaves the old or the new state on all servers.
func TestALeaderDiesWhileItRestores(t *testing.T) {
	outcomes := map[string]bool{}
	for _, after := range []time.Duration{0, 2, 5, 11, 14, 17, 21, 24, 27, 31, 40} {
		after *= time.Millisecond
		nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
			for i := range 40 {
				mustPut(t, c.WaitLeader(), fmt.Sprintf("fill/%d", i), strings.Repeat(uuid.NewString(), 500))
			}
			mustPut(t, c.WaitLeader(), "a", "old")
			s := mustSave(t, c.WaitLeader())
			mustPut(t, c.WaitLeader(), "a", "new")
			leader := c.WaitLeader()
			for _, n := range c.Nodes {
				if n != leader {
					c.Fabric.Delay(leader.Host, n.Host, 2*time.Millisecond)
				}
			}
			done := make(chan error, 1)
			go func() {
				_, err := restore(leader, s.bytes, structs.WriteRequest{})
				done <- err
			}()
			time.Sleep(after)
			c.Crash(leader)
			err := <-done
			c.WaitLeader()
			c.Restart(leader)
			mustAgree(t, c)
			got := values(t, leader, "a")[0]
			if err == nil && got != "old" {
				t.Errorf("after %v: the restore succeeded, and a is %q", after, got)
			}
			outcomes[got] = true
			for _, n := range c.Nodes {
				if n.Staged() {
					t.Errorf("after %v: pieces of the archive are left", after)
				}
				if _, err := n.CompactLog(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	if !maps.Equal(outcomes, map[string]bool{"old": true, "new": true}) {
		t.Errorf("only %v was seen: the crashes all came at one time", outcomes)
	}
}

// What a leader left behind keeps the log from being shortened until the next one drops it.
func TestPiecesThatAreLeftBehindAreDropped(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		mustPut(t, c.WaitLeader(), "a", "1")
		s := mustSave(t, c.WaitLeader())
		leader := c.WaitLeader()
		if err := leader.StageArchive(s.bytes); err != nil {
			t.Fatal(err)
		}
		if _, err := leader.CompactLog(); !leader.Staged() || !errors.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "archive") {
			t.Errorf("staged %t, %v", leader.Staged(), err)
		}
		c.Crash(leader)
		c.WaitLeader()
		c.Restart(leader)
		mustAgree(t, c)
		for _, n := range c.Nodes {
			if ok, err := n.CompactLog(); n.Staged() || err != nil || !ok {
				t.Errorf("staged %t, compacted %t, %v", n.Staged(), ok, err)
			}
		}
		mustPut(t, c.WaitLeader(), "a", "2")
		mustRestore(t, c.Follower(), s.bytes)
		if got := mustGet(t, c.WaitLeader(), "a"); got != "1" {
			t.Errorf("a is %q", got)
		}
	})
}

// A leader whose disk hangs while it drops pieces lays its duties down all the same.
func TestPiecesAreNotWaitedForOnADiskThatHangs(t *testing.T) {
	logs := map[string]*stickyLog{}
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		leader := c.WaitLeader()
		mustPut(t, leader, "a", "1")
		if err := leader.StageArchive(mustSave(t, leader).bytes); err != nil {
			t.Fatal(err)
		}
		disk := logs[nameOf(leader)]
		disk.hang()
		within(t, "the leader drops the pieces", leader.Restoring)
		within(t, "it waits no longer", func() bool { return !leader.Restoring() })
		if leader.IsLeader() || !leader.Staged() {
			t.Error("the disk did not hang")
		}
		disk.work()
		within(t, "the pieces are dropped", func() bool { return !leader.Staged() && !c.WaitLeader().Staged() })
		mustAgree(t, c)
	}, stickyLogs(logs))
}

// Pieces that a restore could not take back do not keep the log from being shortened for
// as long as the same server leads.
func TestALeaderDropsPiecesThatNoRestoreIsAbout(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		leader := c.WaitLeader()
		mustPut(t, leader, "a", "1")
		if err := leader.StageArchive(mustSave(t, leader).bytes); err != nil {
			t.Fatal(err)
		}
		body, upload := io.Pipe()
		ended := make(chan error, 1)
		go func() {
			_, err := leader.RestoreSnapshot(context.Background(), &structs.SnapshotRestoreRequest{}, body)
			ended <- err
		}()
		time.Sleep(5 * time.Minute)
		if !leader.Staged() {
			t.Error("pieces were dropped while a restore is under way, which they may belong to")
		}
		upload.CloseWithError(io.ErrUnexpectedEOF)
		if err := <-ended; err == nil {
			t.Error("an archive that broke off was restored")
		}
		within(t, "the pieces are dropped", func() bool { return !leader.Staged() })
		mustAgree(t, c)
		for _, n := range c.Nodes {
			if ok, err := n.CompactLog(); n.Staged() || err != nil || !ok {
				t.Errorf("staged %t, compacted %t, %v", n.Staged(), ok, err)
			}
		}
		if c.WaitLeader() != leader {
			t.Error("another server leads")
		}
	})
}

// No write that is acknowledged after the restore is lost, and none from before it comes
// back; those under way are told.
func TestWritesBesideARestore(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		mustPut(t, c.WaitLeader(), "a", "1")
		s := mustSave(t, c.WaitLeader())
		mustPut(t, c.WaitLeader(), "before", "1")
		for _, a := range c.Nodes {
			for _, b := range c.Nodes {
				if a != b {
					c.Fabric.Delay(a.Host, b.Host, time.Millisecond)
				}
			}
		}
		stop := make(chan struct{})
		var mu sync.Mutex
		indexes, told := map[string]uint64{}, 0
		var wg sync.WaitGroup
		for w := range 30 {
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					path := fmt.Sprintf("w/%d/%d", w, i)
					out, err := c.Nodes[w%3].Put(t.Context(), path, structs.VariableItems{"v": "1"})
					mu.Lock()
					switch {
					case err == nil:
						indexes[path] = out.Index
					case errors.Is(err, errs.Deadline) && strings.Contains(err.Error(), "may not have been kept"):
						told++
					default:
						t.Errorf("%s: %v", path, err)
					}
					mu.Unlock()
					if err != nil { // at once: time stands still for who does not wait
						time.Sleep(time.Millisecond)
					}
				}
			})
		}
		time.Sleep(50 * time.Millisecond)
		resp := mustRestore(t, c.Follower(), s.bytes)
		time.Sleep(50 * time.Millisecond)
		close(stop)
		wg.Wait()
		if told == 0 {
			t.Error("no write was under way")
		}
		mustAgree(t, c)
		leader := c.WaitLeader()
		kept := 0
		for path, index := range indexes {
			want := "-"
			if index > resp.Index {
				want, kept = "1", kept+1
			}
			if got := values(t, leader, path)[0]; got != want {
				t.Errorf("%s was written at %d, the restore at %d: it is %q", path, index, resp.Index, got)
			}
		}
		if kept == 0 || kept == len(indexes) {
			t.Errorf("%d of %d writes came after the restore", kept, len(indexes))
		}
		if got := values(t, leader, "a", "before"); !slices.Equal(got, []string{"1", "-"}) {
			t.Errorf("%q", got)
		}
	})
}

// A request that was answered before the archive was saved is remembered; one of later is
// not taken for a first try when it is tried again.
func TestRequestsAreRememberedAsTheArchiveHasThem(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		n := c.Nodes[0]
		put := func(token, path string) (uint64, error) {
			req := &structs.VariablesApplyRequest{Op: structs.VarOpSet, Var: &structs.VariableDecrypted{
				VariableMetadata: structs.VariableMetadata{Path: path}, Items: structs.VariableItems{"v": token}}, WriteRequest: structs.WriteRequest{IdempotencyToken: token}}
			var reply structs.VariablesApplyResponse
			err := n.RPC(t.Context(), "Variables.Apply", req, &reply)
			return reply.Index, err
		}
		first, err := put("one", "a")
		if err != nil {
			t.Fatal(err)
		}
		s := mustSave(t, n)
		if _, err := put("two", "b"); err != nil {
			t.Fatal(err)
		}
		resp := mustRestore(t, n, s.bytes)
		if again, err := put("one", "a"); err != nil || again != first {
			t.Errorf("a request of the archive was applied again: %d, was %d, %v", again, first, err)
		}
		if again, err := put("two", "b"); err != nil || again <= resp.Index { // sent by the client as a new one
			t.Errorf("%d after %d, %v", again, resp.Index, err)
		}
	})
}

// The leader looks after what the archive has.
func TestDutiesBeginAnewAfterARestore(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		id := mustAcquire(t, c.WaitLeader(), 10*time.Second, time.Second)
		node := &structs.Node{ID: uuid.NewString(), SecretID: uuid.NewString(), Name: "worker", Datacenter: "dc1"}
		if _, err := register(c.WaitLeader(), node, node.SecretID); err != nil {
			t.Fatal(err)
		}
		if _, err := heartbeat(c.WaitLeader(), node.ID, structs.NodeStatusReady, node.SecretID); err != nil {
			t.Fatal(err)
		}
		s := mustSave(t, c.WaitLeader())
		if out, err := lock(c.WaitLeader(), structs.VarOpLockRelease, &structs.VariableLock{ID: id}, nil); err != nil || out.IsConflict() {
			t.Fatalf("%+v, %v", out, err)
		}
		if err := c.WaitLeader().RPC(t.Context(), "Node.BatchDeregister", &structs.NodeBatchDeregisterRequest{NodeIDs: []string{node.ID}}, &structs.NodeUpdateResponse{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		mustRestore(t, c.Follower(), s.bytes)
		if !held(t, c.WaitLeader()) || readNode(t, c.WaitLeader(), node.ID).Status != structs.NodeStatusReady {
			t.Fatal("the archive was not restored")
		}
		if err := renew(c.WaitLeader(), id); err != nil {
			t.Errorf("the holder cannot renew: %v", err)
		}
		time.Sleep(c.Nodes[0].HeartbeatPatience() + 10*time.Second)
		if held(t, c.WaitLeader()) {
			t.Error("nobody ends a lock of the archive")
		}
		if got := readNode(t, c.WaitLeader(), node.ID).Status; got != structs.NodeStatusDown {
			t.Errorf("a node of the archive that is silent is %s", got)
		}
	})
}

func TestOneRestoreAtATime(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		s := mustSave(t, c.WaitLeader())
		r, w := io.Pipe()
		done := make(chan error, 1)
		go func() {
			_, err := c.Follower().RestoreSnapshot(t.Context(), &structs.SnapshotRestoreRequest{}, r)
			done <- err
		}()
		_, _ = w.Write(s.bytes[:10])
		if _, err := restore(c.Follower(), s.bytes, structs.WriteRequest{}); !errors.Is(err, errs.Busy) {
			t.Errorf("a second one: %v", err)
		}
		// One that goes silent is given up, so that it keeps nobody out.
		within(t, "the end of a restore that is silent", func() bool {
			_, err := restore(c.Follower(), s.bytes, structs.WriteRequest{})
			return err == nil
		})
		_ = w.CloseWithError(io.ErrClosedPipe)
		if err := <-done; err == nil {
			t.Error("half an archive was restored")
		}
	})
}

func TestRightsOnArchives(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		admin := admin(t, c.WaitLeader())
		holder := func(rules string) string {
			admin.policy("p"+strconv.Itoa(len(rules)), rules)
			return admin.token(client("p" + strconv.Itoa(len(rules)))).SecretID
		}
		s, err := save(admin.Node, structs.QueryOptions{AuthToken: admin.secret})
		if err != nil {
			t.Fatal(err)
		}
		for name, tc := range map[string]struct {
			secret        string
			save, restore bool
		}{
			"nobody":           {"", false, false},
			"unknown":          {uuid.NewString(), false, false},
			"operator write":   {holder(`operator { policy = "write" }`), true, false},
			"snapshot-save":    {holder(`operator { capabilities = ["snapshot-save"] }`), true, false},
			"snapshot-restore": {holder(`operator { capabilities = ["snapshot-restore"] }`), false, true},
			"management":       {admin.secret, true, true},
		} {
			n := c.Follower()
			if _, err := save(n, structs.QueryOptions{AuthToken: tc.secret}); (err == nil) != tc.save || err != nil && !errors.Is(err, errs.PermissionDenied) {
				t.Errorf("%s saves: %v", name, err)
			}
			if _, err := save(n, structs.QueryOptions{AuthToken: tc.secret, AllowStale: true}); (err == nil) != tc.save {
				t.Errorf("%s saves what a follower has: %v", name, err)
			}
			// Nothing of the body is asked for of who may not restore.
			body := &reads{Reader: strings.NewReader("no archive")}
			_, err := n.RestoreSnapshot(t.Context(), &structs.SnapshotRestoreRequest{WriteRequest: structs.WriteRequest{AuthToken: tc.secret}}, body)
			if errors.Is(err, errs.Invalid) != tc.restore || errors.Is(err, errs.PermissionDenied) == tc.restore || body.some != tc.restore {
				t.Errorf("%s restores: %v, read %t", name, err, body.some)
			}
		}
		if _, err := restore(c.Follower(), s.bytes, structs.WriteRequest{AuthToken: admin.secret}); err != nil {
			t.Error(err)
		}
	}, withACL)
}

// A fresh cluster that takes the archive of one that is lost goes on above what clients
// of that may have seen since.
func TestTheIndexOfAnotherCluster(t *testing.T) {
	var archive *saved
	var last uint64
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		mustPut(t, c.Nodes[0], "a", "1")
		archive = mustSave(t, c.Nodes[0])
		for range 100 {
			last = mustPut(t, c.Nodes[0], "a", "2")
		}
	})
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		if resp := mustRestore(t, c.Nodes[0], archive.bytes); resp.Index <= last {
			t.Errorf("the restore is at %d, clients have seen %d", resp.Index, last)
		}
	})
}

type reads struct {
	io.Reader
	some bool
}

func (r *reads) Read(b []byte) (int, error) {
	r.some = true
	return r.Reader.Read(b)
}
