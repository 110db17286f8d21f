package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jsonrpc"
	"github.com/cairn-project/cairn/nomad/archive"
	"github.com/cairn-project/cairn/nomad/structs"
)

// anArchive is a whole one of an index, with a state of no meaning.
func anArchive(t *testing.T, index uint64) []byte {
	t.Helper()
	var out bytes.Buffer
	m := archive.Meta{StateIndex: index, Created: time.Unix(1000, 0), ClusterID: "c1", Region: "global", Program: "cairn"}
	if _, err := archive.Write(&out, m, func(w io.Writer) error { _, err := fmt.Fprint(w, "state", index); return err }); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// archiving is a node with a data directory, over a fake that gives archives.
func archiving(t *testing.T) (*fakeServer, *api, string) {
	t.Helper()
	dir := t.TempDir()
	f := newFake().fill()
	f.archive = anArchive(t, 9)
	h := testAPI(t, f, func(c *Config) { c.DataDir = dir })
	return f, h, filepath.Join(dir, "archives")
}

// snapshotWork begins a method and returns its operation when it has ended.
func snapshotWork(t *testing.T, h *api, method, params string) *operation {
	t.Helper()
	raw, rpcErr := invoke(t, h, method, params, "X-Nomad-Token", "secret")
	if rpcErr != nil {
		t.Fatal(rpcErr)
	}
	var ref operationRef
	if err := json.Unmarshal(raw, &ref); err != nil {
		t.Fatal(err)
	}
	h.rpc.operations.wg.Wait()
	found := h.rpc.operations.find(func(o *operation) bool { return o.ID == ref.Operation && o.Token == ref.Token }, 0)
	if len(found) != 1 || found[0].Kind != method || !found[0].done() {
		t.Fatalf("operations of %s: %v", method, found)
	}
	return found[0]
}

// filesIn returns the names in a directory, hidden ones too.
func filesIn(t *testing.T, dir string) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestTheStateIsSavedBelowTheDataDirectory(t *testing.T) {
	f, h, dir := archiving(t)
	f.saving = func(ctx context.Context, r *structs.SnapshotSaveRequest) error {
		if _, ok := ctx.Deadline(); ok || r.AuthToken != "secret" || !r.AllowStale {
			t.Errorf("asked %+v, and the time for it is bounded: %t", r, ok)
		}
		return nil
	}
	o := snapshotWork(t, h, "admin_snapshot_save", `{"name":"a.snap","stale":true}`)
	path := filepath.Join(dir, "a.snap")
	want := fmt.Sprintf("%s has %d bytes, sha256 %x", path, len(f.archive), sha256.Sum256(f.archive))
	if o.State != structs.OperationSucceeded || o.Message != want || o.Steps[0].Message != "index 9, of the cluster c1 in region global" {
		t.Errorf("%+v %+v", o, o.Steps[0])
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, f.archive) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	for name, mode := range map[string]os.FileMode{path: 0o600, dir: 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	f.saving = nil
	if _, rpcErr := invoke(t, h, "admin_snapshot_save", `{"name":"a.snap"}`); !errors.Is(rpcErr, errs.Conflict) {
		t.Errorf("over one that is there: %v", rpcErr)
	}
	if o := snapshotWork(t, h, "admin_snapshot_save", `{}`); o.State != structs.OperationSucceeded || !strings.Contains(o.Message, "cairn-20") {
		t.Errorf("without a name: %+v", o)
	}
}

// What is not whole gets no name, and what a save left that died is removed by the next.
func TestWhatIsNotWholeIsNotKept(t *testing.T) {
	f, h, dir := archiving(t)
	whole := f.archive
	for name, bad := range map[string][]byte{"cut": whole[:len(whole)/2], "no archive": []byte("something"), "empty": {}} {
		f.archive = bad
		o := snapshotWork(t, h, "admin_snapshot_save", `{"name":"a.snap"}`)
		if o.State == structs.OperationSucceeded || !strings.Contains(o.Message, "archive") || len(filesIn(t, dir)) != 0 {
			t.Errorf("%s: %+v, %v", name, o, filesIn(t, dir))
		}
	}
	f.archive = nil // what comes is not what was promised
	if o := snapshotWork(t, h, "admin_snapshot_save", `{"name":"a.snap"}`); o.State != structs.OperationFailed || len(filesIn(t, dir)) != 0 {
		t.Errorf("%+v, %v", o, filesIn(t, dir))
	}
	f.archive, f.saving = whole, func(context.Context, *structs.SnapshotSaveRequest) error {
		return errs.New(errs.NoLeader, "No cluster leader")
	}
	if o := snapshotWork(t, h, "admin_snapshot_save", `{"name":"a.snap"}`); o.State != structs.OperationUnreachable || o.Steps[1].State != structs.OperationFailed {
		t.Errorf("no leader: %+v", o)
	}
	if err := os.WriteFile(filepath.Join(dir, ".b.snap.123.part"), whole[:9], 0o600); err != nil {
		t.Fatal(err)
	}
	f.saving = nil
	snapshotWork(t, h, "admin_snapshot_save", `{"name":"a.snap"}`)
	if got := filesIn(t, dir); !slices.Equal(got, []string{madeName, "a.snap"}) {
		t.Error(got)
	}
}

func TestOldArchivesGo(t *testing.T) {
	f, h, dir := archiving(t)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "theirs.snap"), anArchive(t, 1), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 9 {
		f.archive = anArchive(t, uint64(10+i))
		snapshotWork(t, h, "admin_snapshot_save", fmt.Sprintf(`{"name":"s%d"}`, i))
	}
	if got := filesIn(t, dir); !slices.Equal(got, []string{madeName, "s2", "s3", "s4", "s5", "s6", "s7", "s8", "theirs.snap"}) {
		t.Errorf("seven stay, and what was there: %v", got)
	}
	// One that somebody replaced is theirs; one that they removed is not counted.
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "s2"), anArchive(t, 77777), 0o600), os.Remove(filepath.Join(dir, "s3"))); err != nil {
		t.Fatal(err)
	}
	o := snapshotWork(t, h, "admin_snapshot_save", `{"name":"s9","keep":2}`)
	if got := filesIn(t, dir); !slices.Equal(got, []string{madeName, "s2", "s8", "s9", "theirs.snap"}) || o.Steps[1].Message != "removed: s4, s5, s6, s7" {
		t.Errorf("%v, %+v", got, o.Steps[1])
	}
	for _, params := range []string{`{"keep":0}`, `{"keep":-1}`, `{"keep":"all"}`, `{"name":"../up"}`, `{"name":"a/b"}`, `{"name":".hidden"}`, `{"name":"-f"}`} {
		if _, rpcErr := invoke(t, h, "admin_snapshot_save", params); rpcErr == nil || rpcErr.Code != jsonrpc.CodeInvalidParams {
			t.Errorf("%s: %v", params, rpcErr)
		}
	}
	// What cannot be told apart stays, and the operation says so.
	if err := os.WriteFile(filepath.Join(dir, madeName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	o = snapshotWork(t, h, "admin_snapshot_save", `{"name":"s10","keep":1}`)
	if o.State != structs.OperationFailed || !strings.Contains(o.Message, "s10 was saved, but old archives stay") || !slices.Contains(filesIn(t, dir), "s8") {
		t.Errorf("%+v, %v", o, filesIn(t, dir))
	}
}

func TestArchivesAreShown(t *testing.T) {
	f, h, dir := archiving(t)
	list := func() (out snapshotList) {
		t.Helper()
		raw, rpcErr := invoke(t, h, "get_snapshots", `{}`)
		if rpcErr != nil {
			t.Fatal(rpcErr)
		}
		fitsSchema(t, h, "get_snapshots", raw)
		if err := json.Unmarshal(raw, &out); err != nil || out.Dir != dir {
			t.Fatalf("%+v, %v", out, err)
		}
		return out
	}
	if got := list(); got.Total != 0 || got.Snapshots == nil {
		t.Errorf("before the first: %+v", got)
	}
	snapshotWork(t, h, "admin_snapshot_save", `{"name":"a.snap"}`)
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "notes"), []byte("mine"), 0o600), os.Mkdir(filepath.Join(dir, "sub"), 0o700),
		os.Chtimes(filepath.Join(dir, "notes"), time.Unix(5, 0), time.Unix(5, 0))); err != nil {
		t.Fatal(err)
	}
	got := list()
	if got.Total != 2 || len(got.Snapshots) != 2 {
		t.Fatalf("%+v", got)
	}
	a, notes := got.Snapshots[0], got.Snapshots[1]
	if a.Name != "a.snap" || a.Size != int64(len(f.archive)) || a.Index != 9 || a.Cluster != "c1" || a.Region != "global" || !a.Saved.Equal(time.Unix(1000, 0)) || !a.Made || a.Problem != "" {
		t.Errorf("%+v", a)
	}
	if notes.Name != "notes" || notes.Made || !strings.Contains(notes.Problem, "no archive") || notes.Saved != nil {
		t.Errorf("%+v", notes)
	}
	for i := range maxShown {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("n%d", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := list(); got.Total != maxShown+2 || len(got.Snapshots) != maxShown {
		t.Errorf("%d of %d are shown", len(got.Snapshots), got.Total)
	}
}

func TestAnArchiveIsRestoredByItsName(t *testing.T) {
	f, h, dir := archiving(t)
	snapshotWork(t, h, "admin_snapshot_save", `{"name":"a.snap"}`)
	asked := 0
	f.restoring = func(ctx context.Context, r *structs.SnapshotRestoreRequest) error {
		asked++
		if _, ok := ctx.Deadline(); ok || r.AuthToken != "secret" || !r.OtherRegion {
			t.Errorf("asked %+v, and the time for it is bounded: %t", r, ok)
		}
		return nil
	}
	o := snapshotWork(t, h, "admin_snapshot_restore", `{"name":"a.snap","other_region":true}`)
	want := fmt.Sprintf("restored: the index was %d and is 11, the archive is of index 0", len(f.archive)) // the fake counts what came
	if o.State != structs.OperationSucceeded || o.Message != want || o.Steps[0].Message != "saved at 1970-01-01T00:16:40Z at index 9, of the cluster c1 in region global" {
		t.Errorf("%+v %+v", o, o.Steps[0])
	}
	b := bytes.Clone(f.archive)
	b[len(b)/2] ^= 1
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "bad"), b, 0o600), os.Mkdir(filepath.Join(dir, "sub"), 0o700)); err != nil {
		t.Fatal(err)
	}
	o = snapshotWork(t, h, "admin_snapshot_restore", `{"name":"bad"}`)
	if o.State != structs.OperationFailed || !strings.Contains(o.Message, "damaged") || asked != 1 {
		t.Errorf("a damaged one, and the servers were asked %d times: %+v", asked, o)
	}
	for name, want := range map[string]error{"nothing.snap": errs.NotFound, "sub": errs.NotFound, "../archives/a.snap": errs.Invalid, madeName: errs.Invalid} {
		if _, rpcErr := invoke(t, h, "admin_snapshot_restore", fmt.Sprintf(`{"name":%q}`, name)); !errors.Is(rpcErr, want) {
			t.Errorf("%s: %v", name, rpcErr)
		}
	}
	f.restoring = func(context.Context, *structs.SnapshotRestoreRequest) error {
		return errs.New(errs.PreconditionFailed, "a key is missing")
	}
	if o := snapshotWork(t, h, "admin_snapshot_restore", `{"name":"a.snap"}`); o.State != structs.OperationFailed || o.Message != "a key is missing" || o.Steps[0].State != structs.OperationSucceeded {
		t.Errorf("the servers refuse: %+v", o)
	}
}

func TestArchivesAreOneAtATime(t *testing.T) {
	f, h, _ := archiving(t)
	let := make(chan struct{})
	f.saving = func(context.Context, *structs.SnapshotSaveRequest) error { <-let; return nil }
	if _, rpcErr := invoke(t, h, "admin_snapshot_save", `{"name":"a"}`); rpcErr != nil {
		t.Fatal(rpcErr)
	}
	_, rpcErr := invoke(t, h, "admin_snapshot_save", `{"name":"b"}`)
	if rpcErr == nil || len(rpcErr.Data) != 1 || rpcErr.Data[0].Code != errataInProgress {
		t.Errorf("while one is saved: %v", rpcErr)
	}
	close(let)
	h.rpc.operations.wg.Wait()
}

func TestArchivesNeedRightsAndADirectory(t *testing.T) {
	f, h, dir := archiving(t)
	can := func(rules string) {
		t.Helper()
		p, err := acl.Parse(rules)
		if err == nil {
			f.rights, err = acl.New(false, p)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	snapshotWork(t, h, "admin_snapshot_save", `{"name":"a"}`)
	code := func(method, params string) errs.Code {
		t.Helper()
		_, rpcErr := invoke(t, h, method, params)
		h.rpc.operations.wg.Wait()
		if rpcErr == nil {
			return ""
		}
		return errs.CodeOf(rpcErr)
	}
	for _, tc := range []struct {
		rules         string
		save, restore errs.Code
	}{
		{`agent { policy = "write" }`, errs.PermissionDenied, errs.PermissionDenied},
		{`operator { policy = "read" }`, errs.PermissionDenied, errs.PermissionDenied},
		{`operator { capabilities = ["snapshot-save"] }`, "", errs.PermissionDenied},
		{`operator { capabilities = ["snapshot-restore"] }`, errs.PermissionDenied, ""},
	} {
		can(tc.rules)
		if save, restore := code("admin_snapshot_save", `{}`), code("admin_snapshot_restore", `{"name":"a"}`); save != tc.save || restore != tc.restore {
			t.Errorf("%s: save %q, restore %q", tc.rules, save, restore)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	none := testAPI(t, newFake().fill(), func(c *Config) { c.DevMode, c.DataDir = true, "" })
	for _, method := range []string{"admin_snapshot_save", "get_snapshots"} {
		if _, rpcErr := invoke(t, none, method, `{}`); !errors.Is(rpcErr, errs.PreconditionFailed) || !strings.Contains(rpcErr.Error(), "data_dir") {
			t.Errorf("%s without a directory: %v", method, rpcErr)
		}
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // where the directory should be
		t.Fatal(err)
	}
	f.rights = acl.AllowAll
	if o := snapshotWork(t, h, "admin_snapshot_save", `{}`); o.State != structs.OperationFailed || !strings.Contains(o.Message, "directory of the archives cannot be used") {
		t.Errorf("%+v", o)
	}
}
