package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/pool"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/structs"
)

// fakeServer answers RPCs with functions of the test.
type fakeServer struct {
	mu sync.Mutex
	// answers fill replies by method.
	answers map[string]func(args, reply any) error
	// last is the arguments of the last call.
	last    any
	ready   error
	rights  *acl.ACL
	authErr error
	joined  []string
	left    string
	pruned  bool
	// gossipKey is the last operation on the gossip keys, and its key.
	gossipKey [2]string
	stopped   int
	graceful  bool
	failed    chan struct{}
	// charged are the arguments of Charge, with spaces between.
	charged   []string
	chargeErr error
	limits    nomad.LimitConfig
	// replicationToken is what SetReplicationToken was told.
	replicationToken string
	// log and snapshots are what is found in the storage, compacts and compactErr what
	// CompactLog answers.
	log, snapshots nomad.StorageCheck
	compacts       bool
	compactErr     error
	// archive is what SaveSnapshot gives, nil for something that is none; saving runs in
	// it, and restoring in RestoreSnapshot, nil for nothing.
	archive   []byte
	saving    func(ctx context.Context, r *structs.SnapshotSaveRequest) error
	restoring func(ctx context.Context, r *structs.SnapshotRestoreRequest) error
	// others is what Drain answers.
	others bool
	// silent makes RPC wait until its caller gives up.
	silent atomic.Bool
	// onDrain runs in Drain, nil for nothing.
	onDrain func()
	// onShutdown runs while the server stops, nil for nothing.
	onShutdown func()
}

func newFake() *fakeServer {
	return &fakeServer{answers: map[string]func(args, reply any) error{}, rights: acl.AllowAll, failed: make(chan struct{})}
}

// on answers method with set, which fills the reply.
func on[A, R any](f *fakeServer, method string, set func(*A, *R) error) {
	f.answers[method] = func(args, reply any) error {
		a, ok := args.(*A)
		if !ok {
			return fmt.Errorf("%s called with %T", method, args)
		}
		r, ok := reply.(*R)
		if !ok {
			return fmt.Errorf("%s called for %T", method, reply)
		}
		return set(a, r)
	}
}

func (f *fakeServer) RPC(ctx context.Context, method string, args, reply any) error {
	f.mu.Lock()
	f.last = args
	answer := f.answers[method]
	f.mu.Unlock()
	if f.silent.Load() {
		<-ctx.Done()
	}
	if err := ctx.Err(); err != nil {
		return errs.Wrap(errs.Deadline, "the caller went away", err)
	}
	if answer == nil {
		return errs.Newf(errs.Unsupported, "unknown method %q", method)
	}
	return answer(args, reply)
}

func (f *fakeServer) Authorize(context.Context, string) (*acl.ACL, error) { return f.rights, f.authErr }
func (f *fakeServer) Charge(_ context.Context, r nomad.Charged) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	what := r.Method
	if what == "" {
		what = r.Name + " as " + r.Class.String()
	}
	f.charged = append(f.charged, what+" "+r.Secret+" "+r.Remote+r.User)
	return f.chargeErr
}
func (f *fakeServer) VerifyLog(context.Context) (*nomad.StorageCheck, error) { return &f.log, nil }
func (f *fakeServer) VerifySnapshots(context.Context) (*nomad.StorageCheck, error) {
	return &f.snapshots, nil
}
func (f *fakeServer) CompactLog() (bool, error)                  { return f.compacts, f.compactErr }
func (f *fakeServer) LogBounds() (first, last uint64, err error) { return f.log.First, f.log.Last, nil }
func (f *fakeServer) SetReplicationToken(secret string)          { f.replicationToken = secret }
func (f *fakeServer) SetLimits(c nomad.LimitConfig)              { f.limits = c }
func (f *fakeServer) Refused(*acl.ACL, func(*acl.ACL) bool)      {}
func (f *fakeServer) RightsOf(policies, roles []string) (*acl.ACL, error) {
	return f.rights, f.authErr
}
func (f *fakeServer) StreamNode(_ context.Context, r *structs.NodeCallRequest, w io.Writer) (json.RawMessage, error) {
	_, err := io.WriteString(w, r.NodeID+" "+string(r.Body))
	return nil, err
}
func (f *fakeServer) StreamEvents(_ context.Context, r *structs.EventStreamRequest, send func([]byte) error) error {
	f.last = r
	if f.authErr != nil {
		return f.authErr
	}
	return errors.Join(send([]byte("{}\n")), errs.New(errs.Unavailable, "the end"))
}
func (f *fakeServer) SaveSnapshot(ctx context.Context, r *structs.SnapshotSaveRequest) (*structs.SnapshotSaveResponse, io.ReadCloser, error) {
	f.mu.Lock()
	f.last = r
	f.mu.Unlock()
	if f.authErr != nil {
		return nil, nil, f.authErr
	}
	resp := &structs.SnapshotSaveResponse{SnapshotChecksum: "sha-256=sum", Size: 7}
	resp.Index, resp.KnownLeader = 9, true
	if f.saving != nil {
		if err := f.saving(ctx, r); err != nil {
			return nil, nil, err
		}
	}
	if f.archive != nil {
		sum := sha256.Sum256(f.archive)
		resp.SnapshotChecksum, resp.Size = "sha-256="+base64.StdEncoding.EncodeToString(sum[:]), int64(len(f.archive))
		return resp, io.NopCloser(bytes.NewReader(f.archive)), nil
	}
	return resp, io.NopCloser(strings.NewReader("archive")), nil
}

func (f *fakeServer) RestoreSnapshot(ctx context.Context, r *structs.SnapshotRestoreRequest, body io.Reader) (*structs.SnapshotRestoreResponse, error) {
	f.mu.Lock()
	f.last = r
	f.mu.Unlock()
	if f.authErr != nil {
		return nil, f.authErr
	}
	if f.restoring != nil {
		if err := f.restoring(ctx, r); err != nil {
			return nil, err
		}
	}
	b, err := io.ReadAll(body)
	resp := &structs.SnapshotRestoreResponse{Before: uint64(len(b))}
	resp.Index = 11
	return resp, err
}

func (f *fakeServer) LinkRefusal(version int) *nodelink.Refusal {
	return nodelink.CheckVersion(version, version)
}
func (f *fakeServer) ServeNodePort(conn net.Conn) { _ = conn.Close() }
func (f *fakeServer) ServeLink(ctx context.Context, s mux.Session, from nodelink.From) {
	nodelink.NewHost(nodelink.HostConfig{Region: "global", Links: nodelink.NewLinks()}).Serve(ctx, s, from)
}
func (f *fakeServer) Join(addrs []string) (int, error) {
	f.joined = addrs
	return len(addrs), nil
}
func (f *fakeServer) ForceLeave(node string, prune bool) error {
	f.left, f.pruned = node, prune
	return nil
}
func (f *fakeServer) GossipKeys(_ context.Context, op structs.GossipKeyOp, key string) (*structs.GossipKeyResponse, error) {
	f.gossipKey = [2]string{string(op), key}
	if key == "bad" {
		return nil, errs.New(errs.Unavailable, "install: 1 of 2 members are done; n2.global: disk full")
	}
	return &structs.GossipKeyResponse{Messages: map[string]string{}, Keys: map[string]int{"a": 1}, PrimaryKeys: map[string]int{"a": 1}, NumNodes: 1}, nil
}
func (f *fakeServer) LocalMember() *structs.AgentMember {
	return &structs.AgentMember{Name: "n1.global", Addr: []byte{127, 0, 0, 1}, Port: 4648, Status: "alive",
		Tags: map[string]string{"role": "nomad"}}
}
func (f *fakeServer) Stats() map[string]map[string]string {
	return map[string]map[string]string{"raft": {"state": "Leader"}}
}
func (f *fakeServer) RPCPeers() ([]wire.Peer, []pool.Peer) {
	return []wire.Peer{{Remote: "10.0.0.8:1", Server: true, Conns: 2, Calls: 1}}, []pool.Peer{{Addr: "10.0.0.7:4647", Conns: 3}}
}
func (f *fakeServer) Ready() error { return f.ready }
func (f *fakeServer) Leave(context.Context) error {
	f.graceful = true
	return nil
}
func (f *fakeServer) Shutdown() error {
	f.stopped++
	if f.onShutdown != nil {
		f.onShutdown()
	}
	return nil
}
func (f *fakeServer) Drain() bool {
	if f.onDrain != nil {
		f.onDrain()
	}
	return f.others
}
func (f *fakeServer) Failed() <-chan struct{} { return f.failed }
func (f *fakeServer) Err() error              { return io.ErrUnexpectedEOF }
func (f *fakeServer) AgentSecret() string     { return "b9c1f4f2-6c5b-4b4e-8f0f-0c5a3e9d7a11" }
func (f *fakeServer) NodeID() string          { return "6e1dfd35-4ff0-4ec3-8e6f-3a3a1d6b1a5c" }

// testAPI returns a handler over f.
func testAPI(t testing.TB, f *fakeServer, change ...func(*Config)) *api {
	t.Helper()
	c := DefaultDevConfig()
	c.NodeName = "n1"
	c.Server.Encrypt = "c2VjcmV0LXNlY3JldC1rZQ=="
	for _, ch := range change {
		ch(c)
	}
	tel, err := newTelemetry(c.Telemetry, c.NodeName)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tel.shutdown)
	return newAPI(f, c, tel, hclog.NewNullLogger())
}

// call sends one request to h. header lists names and values in turn.
func call(h http.Handler, method, target, body string, header ...string) *httptest.ResponseRecorder {
	var rd io.Reader
	if body != "" {
		rd = strings.NewReader(body)
	}
	req := httptest.NewRequest(method, target, rd)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w
}

// variable returns a variable with every field set.
func variable() *structs.VariableDecrypted {
	return &structs.VariableDecrypted{
		VariableMetadata: structs.VariableMetadata{
			Namespace: "default", Path: "app/db", CreateIndex: 7, CreateTime: 1700000000000000000,
			ModifyIndex: 9, ModifyTime: 1700000001000000000,
			Lock: &structs.VariableLock{ID: "b5d3c7a0-3f4a-4b43-9d5a-1c2d3e4f5a6b", TTL: 15 * time.Second, LockDelay: 20 * time.Second},
		},
		Items: structs.VariableItems{"user": "web", "pass": "<s3&cret>"},
	}
}

// fill answers every RPC of the route table with data.
func (f *fakeServer) fill() *fakeServer {
	meta := structs.QueryMeta{Index: 42, KnownLeader: true, LastContact: 3 * time.Millisecond}
	ns := &structs.Namespace{Name: "default", Description: "d", CreateIndex: 1, ModifyIndex: 2,
		Meta: map[string]string{"a": "b"}, Capabilities: &structs.NamespaceCapabilities{EnabledTaskDrivers: []string{"exec"}}}
	on(f, "Namespace.ListNamespaces", func(_ *structs.NamespaceListRequest, r *structs.NamespaceListResponse) error {
		r.Namespaces, r.QueryMeta = []*structs.Namespace{ns, {Name: "x"}}, meta
		return nil
	})
	on(f, "Operation.List", func(_ *structs.OperationListRequest, r *structs.OperationListResponse) error {
		at := time.Unix(7, 0).UTC()
		r.Operations, r.QueryMeta = []*structs.Operation{{ID: "op-1", Kind: "drain", Name: "drain node n1", NodeID: "n", Caller: "c", AccessorID: "acc", Reason: "disk",
			State: structs.OperationSucceeded, Message: "m", Created: at, Finished: at,
			Steps: []*structs.OperationStep{{Name: "s", State: structs.OperationSucceeded, Created: at, Parts: []*structs.OperationPart{{Name: "p", State: structs.OperationFailed}}}}}}, meta
		return nil
	})
	on(f, "Namespace.GetNamespace", func(a *structs.NamespaceSpecificRequest, r *structs.SingleNamespaceResponse) error {
		r.QueryMeta = meta
		if a.Name == "default" || a.Name == "x" {
			r.Namespace = ns
		}
		return nil
	})
	written := func(r *structs.GenericResponse) error { r.Index = 43; return nil }
	on(f, "Namespace.UpsertNamespaces", func(_ *structs.NamespaceUpsertRequest, r *structs.GenericResponse) error { return written(r) })
	on(f, "Namespace.DeleteNamespaces", func(_ *structs.NamespaceDeleteRequest, r *structs.GenericResponse) error { return written(r) })
	on(f, "Variables.List", func(_ *structs.VariablesListRequest, r *structs.VariablesListResponse) error {
		r.Data, r.QueryMeta = []*structs.VariableMetadata{&variable().VariableMetadata}, meta
		r.NextToken = "default.next"
		return nil
	})
	on(f, "Variables.Read", func(a *structs.VariablesReadRequest, r *structs.VariablesReadResponse) error {
		r.QueryMeta = meta
		if a.Path == "app/db" || a.Path == "x" {
			r.Data = variable()
		}
		return nil
	})
	on(f, "Variables.Apply", func(a *structs.VariablesApplyRequest, r *structs.VariablesApplyResponse) error {
		r.Op, r.Result, r.Output, r.Index = a.Op, structs.VarOpResultOk, variable(), 44
		return nil
	})
	on(f, "Variables.RenewLock", func(_ *structs.VariablesRenewLockRequest, r *structs.VariablesRenewLockResponse) error {
		r.VarMeta, r.Index = &variable().VariableMetadata, 45
		return nil
	})
	on(f, "Status.Leader", func(_ *structs.GenericRequest, r *string) error { *r = "127.0.0.1:4647"; return nil })
	on(f, "Status.Peers", func(_ *structs.GenericRequest, r *[]string) error { *r = []string{"127.0.0.1:4647"}; return nil })
	on(f, "Region.List", func(_ *structs.GenericRequest, r *[]string) error { *r = []string{"global"}; return nil })
	on(f, "Status.Members", func(_ *structs.GenericRequest, r *structs.MembersResponse) error {
		*r = structs.MembersResponse{ServerName: "n1", ServerRegion: "global", ServerDC: "dc1", Members: []*structs.AgentMember{f.LocalMember()}}
		return nil
	})
	on(f, "Keyring.ListPublic", func(_ *structs.GenericRequest, r *structs.KeyringListPublicResponse) error {
		r.QueryMeta, r.RotationThreshold = meta, 720*time.Hour
		r.PublicKeys = []*structs.KeyringPublicKey{testPublicKey()}
		return nil
	})
	on(f, "Keyring.List", func(_ *structs.KeyringListRootKeyMetaRequest, r *structs.KeyringListRootKeyMetaResponse) error {
		r.QueryMeta = meta
		r.Keys = []*structs.RootKeyMeta{{KeyID: "k", Algorithm: structs.EncryptionAlgorithmAES256GCM, State: structs.RootKeyStateActive}}
		return nil
	})
	on(f, "Operator.RaftGetConfiguration", func(_ *structs.GenericRequest, r *structs.RaftConfigurationResponse) error {
		r.Servers = []*structs.RaftServer{{ID: "a", Node: "n1.global", Address: "127.0.0.1:4647", Leader: true, Voter: true, RaftProtocol: "3"}}
		return nil
	})
	on(f, "Operator.ReplicationAccept", func(_ *structs.ReplicationAcceptRequest, r *structs.ReplicationAcceptResponse) error {
		r.ClusterID, r.Before, r.Index = "new", "old", 45
		return nil
	})
	on(f, "Operator.ReplicationStatus", func(_ *structs.GenericRequest, r *structs.ReplicationStatusResponse) error {
		r.Region, r.AuthoritativeRegion = "mars", "global"
		r.Tables = []*structs.ReplicatedTable{{Table: "acl_policy", Index: 7, LastSync: time.Unix(1, 0).UTC(), LastError: "x"}}
		return nil
	})
	on(f, "Operator.RaftRemovePeerByID", func(_ *structs.RaftPeerByIDRequest, r *structs.GenericResponse) error { return written(r) })
	on(f, "Operator.TransferLeadershipToPeer", func(a *structs.RaftPeerRequest, r *structs.LeadershipTransferResponse) error {
		r.To = structs.RaftIDAddress{ID: a.ID, Address: a.Address}
		return nil
	})
	on(f, "Operator.AutopilotGetConfiguration", func(_ *structs.GenericRequest, r *structs.AutopilotConfigResponse) error {
		conf := structs.DefaultAutopilotConfig()
		conf.CreateIndex, conf.ModifyIndex = 3, 4
		r.QueryMeta, r.Config = meta, &conf
		return nil
	})
	on(f, "Operator.AutopilotSetConfiguration", func(a *structs.AutopilotRequest, r *structs.AutopilotSetConfigResponse) error {
		r.Updated, r.Index = !a.CAS || a.Config.ModifyIndex == 4, 45
		return a.Config.Validate()
	})
	on(f, "Operator.ServerHealth", func(_ *structs.GenericRequest, r *structs.OperatorHealthReply) error {
		*r = structs.OperatorHealthReply{Healthy: true, FailureTolerance: 1, Leader: "a", Voters: []string{"a"}, Servers: []structs.ServerHealth{
			{ID: "a", Name: "n1.global", Address: "127.0.0.1:4647", SerfStatus: "alive", Version: "0.1.0", Leader: true, LastContact: 1500 * time.Microsecond,
				LastTerm: 2, LastIndex: 9, Healthy: true, Voter: true, StableSince: time.Unix(1, 0).UTC()}}}
		return nil
	})
	f.fillACL()
	f.fillNodes()
	f.fillJoinTokens()
	return f
}

func decode[T any](t *testing.T, w *httptest.ResponseRecorder) T {
	t.Helper()
	var out T
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Fatalf("body %q: %v", w.Body, err)
	}
	return out
}

// httptestRequest builds a request whose query need not be well-formed.
func httptestRequest(path, query string) *http.Request {
	req := httptest.NewRequest("GET", path, nil)
	req.URL.RawQuery = query
	return req
}

func serveCode(h http.Handler, req *http.Request) int {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w.Code
}
