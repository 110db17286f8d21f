package nomad_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/stream"
	"github.com/cairn-project/cairn/nomad/structs"
)

// feed is what a subscriber got.
type feed struct {
	t     *testing.T
	mu    sync.Mutex
	lines []structs.EventStreamLine
	err   error // once done is closed
	done  chan struct{}
	end   func()
}

// follow subscribes and waits until everything that there is has come.
func (c caller) follow(r structs.EventStreamRequest) *feed {
	c.t.Helper()
	r.AuthToken = c.secret
	ctx, cancel := context.WithCancel(context.Background())
	f := &feed{t: c.t, done: make(chan struct{}), end: cancel}
	go func() {
		defer close(f.done)
		f.err = c.StreamEvents(ctx, &r, f.take)
	}()
	c.t.Cleanup(f.stop)
	synctest.Wait()
	return f
}

func (f *feed) stop() {
	f.end()
	<-f.done
}

func (f *feed) take(lines []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := bufio.NewScanner(bytes.NewReader(lines)); s.Scan(); {
		var l structs.EventStreamLine
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			f.t.Errorf("%v in %s", err, s.Bytes())
		}
		f.lines = append(f.lines, l)
	}
	return nil
}

// got returns what came, as "Topic Type Key" texts, "-" for a heartbeat.
func (f *feed) got() []string {
	f.t.Helper()
	time.Sleep(time.Second) // a follower hears of the last write a moment later
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, l := range f.lines {
		switch {
		case l.Gap != nil:
			out = append(out, fmt.Sprintf("gap %d %d", l.Gap.After, l.Gap.Before))
		case l.Index == 0:
			out = append(out, "-")
		}
		for _, e := range l.Events {
			if e.Index != l.Index {
				f.t.Errorf("an event of index %d in the line of %d", e.Index, l.Index)
			}
			out = append(out, string(e.Topic)+" "+e.Type+" "+e.Key)
		}
	}
	return out
}

// keys returns the keys of a topic that came and were not deleted at last, in order.
func (f *feed) keys(topic structs.Topic) []string {
	f.t.Helper()
	there := map[string]bool{}
	for _, text := range f.got() {
		if part := strings.Split(text, " "); part[0] == string(topic) {
			there[part[2]] = !strings.HasSuffix(part[1], "Deleted")
		}
	}
	maps.DeleteFunc(there, func(_ string, is bool) bool { return !is })
	return slices.Sorted(maps.Keys(there))
}

// ended returns why the stream ended, nil while it has not.
func (f *feed) ended() error {
	time.Sleep(time.Second)
	synctest.Wait()
	select {
	case <-f.done:
		return f.err
	default:
		return nil
	}
}

func topics(list ...structs.Topic) map[structs.Topic][]string {
	out := map[structs.Topic][]string{}
	for _, t := range list {
		out[t] = []string{"*"}
	}
	return out
}

func (c caller) put(ns, path string) uint64 {
	c.t.Helper()
	v := &structs.VariableDecrypted{VariableMetadata: structs.VariableMetadata{Namespace: ns, Path: path}, Items: structs.VariableItems{"a": uuid.NewString()}}
	var reply structs.VariablesApplyResponse
	req := &structs.VariablesApplyRequest{Op: structs.VarOpSet, Var: v}
	req.Namespace = ns
	c.must("Variables.Apply", req, &reply)
	return reply.Index
}

func (c caller) namespace(names ...string) {
	c.t.Helper()
	for _, name := range names {
		c.must("Namespace.UpsertNamespaces", &structs.NamespaceUpsertRequest{Namespaces: []*structs.Namespace{{Name: name}}}, &structs.GenericResponse{})
	}
}

func TestEventsComeInOrderFromEveryServer(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		leader, follower := caller{c.WaitLeader(), t, ""}, caller{c.Follower(), t, ""}
		leader.namespace("prod")
		all, one := structs.EventStreamRequest{}, structs.EventStreamRequest{Topics: map[structs.Topic][]string{structs.TopicVariable: {"app/b"}}}
		feeds := []*feed{leader.follow(all), follower.follow(all)}
		few := follower.follow(one)
		leader.put("", "app/a")
		leader.put("prod", "app/b")
		index := leader.put("", "app/b")
		want := []string{"-", "Namespace NamespaceUpserted prod", "Variable VariableUpdated app/a", "Variable VariableUpdated app/b"}
		for _, f := range feeds {
			if diff := cmp.Diff(want, f.got()); diff != "" {
				t.Error(diff)
			}
		}
		if diff := cmp.Diff([]string{"-", "Variable VariableUpdated app/b"}, few.got()); diff != "" {
			t.Error(diff)
		}
		time.Sleep(time.Minute)
		if got := few.got(); len(got) != 4 || got[3] != "-" {
			t.Errorf("a minute later there were %v, want two heartbeats more", got)
		}
		everywhere := structs.EventStreamRequest{Index: index - 1, Topics: topics(structs.TopicVariable), QueryOptions: structs.QueryOptions{Namespace: "*"}}
		if got := follower.follow(everywhere); cmp.Diff([]string{"-", "Variable VariableUpdated app/b", "Variable VariableUpdated app/b"}, got.got()) != "" {
			t.Errorf("from index %d: %v", index-1, got.got())
		}
	})
}

func TestEventStreamSaysWhatIsMissing(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		s := caller{c.Nodes[0], t, ""}
		s.namespace("prod")
		first := s.put("", "app/v")
		for range 10 {
			s.put("", "app/v")
		}
		late := s.follow(structs.EventStreamRequest{Index: first, Topics: topics(structs.TopicVariable)})
		if got := late.got(); len(got) != 6 || got[1] != fmt.Sprintf("gap %d %d", first-1, first+7) {
			t.Errorf("an old index: %v, want a gap between %d and %d, and the last four", got, first-1, first+7)
		}
		if got := s.follow(structs.EventStreamRequest{}).got(); len(got) != 5 {
			t.Errorf("no index: %v, want what there is", got)
		}
		if got := s.follow(structs.EventStreamRequest{Index: first + 7}).got(); len(got) != 5 {
			t.Errorf("the oldest index: %v", got)
		}
		if got := s.follow(structs.EventStreamRequest{Index: first, Topics: topics(structs.TopicNode)}).got(); len(got) != 1 {
			t.Errorf("a topic of which nothing is missing: %v", got)
		}
		for name, r := range map[string]structs.EventStreamRequest{
			"an unknown topic":      {Topics: topics("Nodes")},
			"a region that is none": {QueryOptions: structs.QueryOptions{Region: "mars"}},
		} {
			if err := s.follow(r).ended(); errs.CodeOf(err) == errs.Internal || err == nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}, func(conf *nomad.Config) { conf.EventBufferSize = 4 })
}

func TestAReaderThatFallsBehindIsToldWhereToGoOn(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		s := caller{c.Nodes[0], t, ""}
		stuck, seen := make(chan struct{}), make(chan struct{}, 100)
		var err error
		done := make(chan struct{})
		go func() {
			defer close(done)
			err = s.StreamEvents(context.Background(), &structs.EventStreamRequest{Topics: topics(structs.TopicVariable)}, func([]byte) error {
				seen <- struct{}{}
				<-stuck
				return nil
			})
		}()
		<-seen // the first line, which is not taken yet
		first := s.put("", "app/v")
		for range 9 {
			s.put("", "app/v")
		}
		close(stuck)
		<-done
		var ended *stream.EndedError
		if !errors.As(err, &ended) || ended.NextIndex >= first+1 || !errors.Is(err, errs.PreconditionFailed) {
			t.Fatalf("ended with %v, %+v", err, ended)
		}
		if got := s.follow(structs.EventStreamRequest{Index: ended.NextIndex, Topics: topics(structs.TopicVariable)}).got(); len(got) != 6 || !strings.HasPrefix(got[1], "gap") {
			t.Errorf("going on shows %v", got)
		}
	}, func(conf *nomad.Config) { conf.EventBufferSize = 4 })
}

func TestEventStreamEndsWithItsServer(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		s := caller{c.Follower(), t, ""}
		f := s.follow(structs.EventStreamRequest{})
		c.Stop(s.Node)
		if err := f.ended(); !errors.Is(err, errs.Unavailable) {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestEventStreamEndsWithARestore(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		away := c.Follower()
		f := caller{away, t, ""}.follow(structs.EventStreamRequest{})
		c.Fabric.Isolate(away.Host)
		time.Sleep(time.Minute) // what was under way is lost
		leader := caller{c.WaitLeader(), t, ""}
		for range 40 {
			leader.put("", "app/v")
		}
		if err := leader.Raft().Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
		last := leader.put("", "app/last")
		if err := f.ended(); err != nil {
			t.Fatalf("ended before the restore: %v", err)
		}
		c.Fabric.HealAll()
		within(t, "the end of the stream", func() bool { return f.ended() != nil })
		var ended *stream.EndedError
		if err := f.ended(); !errors.As(err, &ended) || !errors.Is(err, errs.PreconditionFailed) {
			t.Fatalf("ended with %v", err)
		}
		again := caller{away, t, ""}.follow(structs.EventStreamRequest{Index: ended.NextIndex, Topics: topics(structs.TopicVariable)})
		within(t, "the last write", func() bool { return slices.Contains(again.got(), "Variable VariableUpdated app/last") })
		if got := again.got(); !strings.HasPrefix(got[1], "gap") {
			t.Errorf("going on after the restore shows %v, last is %d", got, last)
		}
	}, func(conf *nomad.Config) { conf.Raft.TrailingLogs = 2; conf.Raft.SnapshotThreshold = 1 << 40 })
}

func TestEventsOfAnotherRegion(t *testing.T) {
	runRegions(t, func(r *regions) {
		far := caller{r.home, r.t, rootSecret}
		here := structs.EventStreamRequest{Topics: topics(structs.TopicVariable)}
		there := here
		there.Region = "mars"
		global := r.putToken(r.home, &structs.ACLToken{Name: "everywhere", Type: structs.ACLManagementToken, Global: true})
		within(r.t, "a copy of the token", func() bool {
			_, err := r.far.Authorize(context.Background(), global.SecretID)
			return err == nil
		})
		f, mine := far.as(global.SecretID).follow(there), far.follow(here)
		caller{r.far, r.t, global.SecretID}.put("", "on/mars")
		within(r.t, "an event of the other region", func() bool { return slices.Equal(f.keys(structs.TopicVariable), []string{"on/mars"}) })
		if got := mine.keys(structs.TopicVariable); got != nil {
			r.t.Errorf("the own region has events %v", got)
		}
		time.Sleep(3 * time.Minute)
		if err := f.ended(); err != nil {
			r.t.Errorf("a quiet stream ended: %v", err)
		}
		local := r.putToken(r.home, &structs.ACLToken{Name: "here", Type: structs.ACLManagementToken})
		denied := far.as(local.SecretID).follow(there)
		within(r.t, "a refusal", func() bool { return denied.ended() != nil })
		if err := denied.ended(); !errors.Is(err, errs.PermissionDenied) || !strings.Contains(err.Error(), "global token") {
			r.t.Errorf("a local token: %v", err)
		}
		r.mustCall(r.home, "ACL.DeleteTokens", &structs.ACLTokenDeleteRequest{AccessorIDs: []string{global.AccessorID}, WriteRequest: root("")}, &structs.GenericResponse{})
		within(r.t, "the end of the stream", func() bool { return f.ended() != nil })
		var ended *stream.EndedError
		if err := f.ended(); !errors.Is(err, errs.PermissionDenied) || !errors.As(err, &ended) || ended.NextIndex == 0 {
			r.t.Errorf("a revoked token: %v", err)
		}
	})
}

func TestServersWithoutABroker(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		s := caller{c.Nodes[0], t, ""}
		s.put("", "app/v")
		if err := s.follow(structs.EventStreamRequest{}).ended(); !errors.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "enable_event_broker") {
			t.Errorf("got %v", err)
		}
	}, func(conf *nomad.Config) { conf.EnableEventBroker = false })
}
