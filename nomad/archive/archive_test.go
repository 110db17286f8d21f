package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/msgp"
	"github.com/cairn-project/cairn/nomad/structs"
)

// made is an archive of some bytes.
func made(t testing.TB, state []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	m, err := Write(&out, Meta{Index: 7, StateIndex: 5, Created: time.Unix(1000, 5), Region: "global", Program: "cairn"},
		func(w io.Writer) error { _, err := w.Write(state); return err })
	if err != nil || m.Size != int64(len(state)) || m.Version != Version {
		t.Fatalf("%+v, %v", m, err)
	}
	return out.Bytes()
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, size := range []int{0, 1, 511, 512, 100_000} {
		state := bytes.Repeat([]byte("x"), size)
		a, err := Open(bytes.NewReader(made(t, state)))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(a); err != nil || !bytes.Equal(got, state) || a.Meta.StateIndex != 5 || !a.Meta.Created.Equal(time.Unix(1000, 0)) {
			t.Errorf("%d of %d bytes, %+v, %v", len(got), size, a.Meta, err)
		}
	}
}

func TestEveryCutAndEveryBitIsNoticed(t *testing.T) {
	good := made(t, []byte(strings.Repeat("state ", 50)))
	for n := range len(good) {
		if _, err := Verify(bytes.NewReader(good[:n])); !errors.Is(err, errs.Invalid) {
			t.Errorf("cut at %d: %v", n, err)
		}
		bad := bytes.Clone(good)
		bad[n] ^= 0x10
		if m, err := Verify(bytes.NewReader(bad)); err == nil && !bytes.Equal(unzipped(t, bad), unzipped(t, good)) {
			t.Errorf("a bit of byte %d: %+v", n, m)
		}
	}
	if _, err := Verify(io.MultiReader(bytes.NewReader(good[:50]), &failing{})); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a reader that fails: %v", err)
	}
}

// rewritten writes an archive whose meta data are of a form that does not exist yet.
func rewritten(t *testing.T, out io.Writer, m Meta) {
	t.Helper()
	m.Version = Version + 1
	b, err := json.Marshal(&m)
	if err != nil {
		t.Fatal(err)
	}
	gz := gzip.NewWriter(out)
	w := tar.NewWriter(gz)
	err = w.WriteHeader(&tar.Header{Name: metaName, Mode: 0o600, Size: int64(len(b))})
	if err == nil {
		_, err = w.Write(b)
	}
	if err := errors.Join(err, w.Close(), gz.Close()); err != nil {
		t.Fatal(err)
	}
}

func unzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	gz, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(gz)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

type failing struct{}

func (*failing) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestANewerFormIsToldOf(t *testing.T) {
	good := made(t, nil)
	a, err := Open(bytes.NewReader(good))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	rewritten(t, &out, a.Meta)
	if _, err := Verify(&out); !errors.Is(err, errs.Unsupported) || !strings.Contains(err.Error(), "too old") {
		t.Error(err)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(made(f, []byte("state")))
	f.Add(made(f, nil)[:40])
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = Scan(bytes.NewReader(b), func(*Record) error { return nil })
	})
}

func FuzzServeRestore(f *testing.F) {
	request, err := msgp.Marshal(&structs.SnapshotRestoreRequest{OtherRegion: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(bytes.Clone(request), 0, 0, 0, 1, 'x', 0, 0, 0, 0))
	f.Add(binary.BigEndian.AppendUint32(request, 1<<31))
	f.Fuzz(func(_ *testing.T, b []byte) {
		near, far := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, near) }()
		go func() { _, _ = near.Write(b); _ = near.Close() }()
		_ = ServeRestore(context.Background(), far, func(_ context.Context, _ *structs.SnapshotRestoreRequest, body io.Reader) (*structs.SnapshotRestoreResponse, error) {
			_, err := io.Copy(io.Discard, body)
			return &structs.SnapshotRestoreResponse{}, err
		})
	})
}

// pipes runs near against a server on the other end.
func pipes(t *testing.T, serve func(net.Conn) error) net.Conn {
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() { defer close(done); _ = serve(far) }()
	t.Cleanup(func() { _ = near.Close(); <-done })
	return near
}

func TestAnArchiveOverTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		want := strings.Repeat("archive ", 100_000)
		conn := pipes(t, func(c net.Conn) error {
			return ServeSave(t.Context(), c, func(context.Context, *structs.SnapshotSaveRequest) (*structs.SnapshotSaveResponse, io.ReadCloser, error) {
				time.Sleep(time.Hour) // it takes a while to make
				return &structs.SnapshotSaveResponse{SnapshotChecksum: "sum", Size: int64(len(want))}, io.NopCloser(strings.NewReader(want)), nil
			})
		})
		resp, body, err := AskSave(t.Context(), conn, &structs.SnapshotSaveRequest{})
		if err != nil || resp.SnapshotChecksum != "sum" {
			t.Fatalf("%+v, %v", resp, err)
		}
		got, err := io.ReadAll(body)
		if string(got) != want || errors.Join(err, body.Close()) != nil {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		conn = pipes(t, func(c net.Conn) error {
			return ServeRestore(t.Context(), c, func(_ context.Context, r *structs.SnapshotRestoreRequest, body io.Reader) (*structs.SnapshotRestoreResponse, error) {
				b, err := io.ReadAll(body)
				time.Sleep(time.Hour)
				return &structs.SnapshotRestoreResponse{Before: uint64(len(b))}, err
			})
		})
		if resp, err := SendRestore(t.Context(), conn, &structs.SnapshotRestoreRequest{}, strings.NewReader(want)); err != nil || resp.Before != uint64(len(want)) {
			t.Errorf("%+v, %v", resp, err)
		}
	})
}

func TestASilentPeerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		go func() { _, _ = io.Copy(io.Discard, far) }()
		if _, _, err := AskSave(t.Context(), near, &structs.SnapshotSaveRequest{}); !errors.Is(err, errs.Unavailable) {
			t.Error(err)
		}
		conn := pipes(t, func(c net.Conn) error {
			return ServeRestore(t.Context(), c, func(_ context.Context, _ *structs.SnapshotRestoreRequest, body io.Reader) (*structs.SnapshotRestoreResponse, error) {
				_, err := io.ReadAll(body)
				return nil, err
			})
		})
		r, w := io.Pipe() // of which nothing comes
		defer w.Close()
		go func() { time.Sleep(time.Hour); _ = w.Close() }()
		if _, err := SendRestore(t.Context(), conn, &structs.SnapshotRestoreRequest{}, r); err == nil {
			t.Error("it took an archive that never came")
		}
	})
}

// Rows that cannot be read are the fault of the file if its sums are wrong, and else of
// whoever wrote it.
func TestScanTellsOfDamageAsSuch(t *testing.T) {
	nonsense := made(t, append(AppendHead(nil, 1), "no rows at all"...))
	if _, err := Scan(bytes.NewReader(nonsense), func(*Record) error { return nil }); !errors.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "the state cannot be read") {
		t.Errorf("whole, and of no rows: %v", err)
	}
	if _, err := Scan(bytes.NewReader(nonsense[:len(nonsense)-20]), func(*Record) error { return nil }); !errors.Is(err, errs.Invalid) || !strings.HasPrefix(err.Error(), "the archive is cut short") {
		t.Errorf("cut: %v", err)
	}
}
