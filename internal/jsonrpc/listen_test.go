package jsonrpc

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cairn-project/cairn/internal/errs"
)

func mustClaim(t *testing.T, path string, mode os.FileMode) *claim {
	t.Helper()
	c, err := listenUnix(path, mode, -1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.release)
	return c
}

func TestSocketHasTheModeAskedFor(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	for _, mode := range []os.FileMode{0o600, 0o660, 0o666} {
		path := filepath.Join(mustShortDir(t), "s")
		mustClaim(t, path, mode)
		info, err := os.Lstat(path)
		if err != nil || info.Mode() != os.ModeSocket|mode {
			t.Errorf("%v: %v, want %v", err, info.Mode(), os.ModeSocket|mode)
		}
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(mustShortDir(t), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close() // as a process that was killed leaves it
	mustClaim(t, path, 0o600)
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

func TestWhatIsNotOursStays(t *testing.T) {
	dir := mustShortDir(t)
	file, link, live := filepath.Join(dir, "file"), filepath.Join(dir, "link"), filepath.Join(dir, "live")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", live)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for path, word := range map[string]string{file: "no socket", link: "no socket", dir: "no socket", live: "another process"} {
		before, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = listenUnix(path, 0o600, -1)
		if !errors.Is(err, errs.Conflict) || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", path, err)
		}
		if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
			t.Errorf("%s was touched: %v", path, err)
		}
	}
}

func TestOneProcessServesAPath(t *testing.T) {
	path := filepath.Join(mustShortDir(t), "s")
	first := mustClaim(t, path, 0o600)
	if _, err := listenUnix(path, 0o600, -1); !errors.Is(err, errs.Conflict) || !strings.Contains(err.Error(), ".lock") {
		t.Errorf("second: %v", err)
	}
	first.release()
	mustClaim(t, path, 0o600)
}

func TestReleaseRemovesOnlyItsOwnSocket(t *testing.T) {
	path := filepath.Join(mustShortDir(t), "s")
	c := mustClaim(t, path, 0o600)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.release()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("somebody else's file is gone: %v", err)
	}
}

func TestSocketPathIsChecked(t *testing.T) {
	for path, word := range map[string]string{
		"": "empty", "relative/s": "absolute", "/" + strings.Repeat("x", MaxSocketPath): "shorter",
	} {
		if _, err := listenUnix(path, 0o600, -1); !errors.Is(err, errs.Invalid) || !strings.Contains(err.Error(), word) {
			t.Errorf("%q: %v", path, err)
		}
	}
	cfg := DefaultSocketConfig()
	cfg.Mode, cfg.MaxConns = 0, 0
	var e *errs.Error
	if err := cfg.Validate(); !errors.As(err, &e) || len(e.Errata) != 3 {
		t.Errorf("every problem at once: %+v", e)
	}
	cfg = DefaultSocketConfig()
	cfg.Path = "/" + strings.Repeat("x", MaxSocketPath)
	if _, err := mustServer(t, DefaultConfig()).Listen(cfg); err == nil || !strings.Contains(err.Error(), "Path has 104 bytes, 103 at most") {
		t.Errorf("the error does not say what is wrong: %v", err)
	}
	if _, err := listenUnix(filepath.Join(mustShortDir(t), "missing", "s"), 0o600, -1); !errors.Is(err, errs.Unavailable) {
		t.Errorf("missing directory: %v", err)
	}
}
