package drpc

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cairn-project/cairn/internal/errs"
)

// refuses fails unless a server at the path cannot start, for the reason in
// want, and what is at the path is left alone.
func refuses(t *testing.T, path, want string) {
	t.Helper()
	before, beforeErr := os.Lstat(path)
	s, err := Listen(testConfig(path), NewRegistry())
	if err == nil {
		_ = s.socket.close()
		t.Fatalf("started, want an error with %q", want)
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	if after, err := os.Lstat(path); beforeErr == nil && (err != nil || !os.SameFile(before, after)) {
		t.Errorf("what was at the path is gone: %v", err)
	}
}

func TestSocketLeavesOthersAlone(t *testing.T) {
	path := func() string { return filepath.Join(socketDir(t), "s") }

	ordinary := path()
	if err := os.WriteFile(ordinary, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	refuses(t, ordinary, "is no socket")

	link := path()
	if err := os.Symlink("/nowhere", link); err != nil {
		t.Fatal(err)
	}
	refuses(t, link, "is no socket")

	for _, network := range []string{"unixpacket", "unix"} {
		live := path()
		other, err := net.ListenUnix(network, &net.UnixAddr{Name: live, Net: network})
		if err != nil {
			t.Fatal(err)
		}
		refuses(t, live, "is in use")
		other.SetUnlinkOnClose(false)
		_ = other.Close()
		refuses(t, live, "did not make")
	}

	running := start(t, NewRegistry(), nil)
	refuses(t, running.path, "another process holds")
	mustAsk(t, connect(t, running.path), &Call{Sequence: 1}, false)

	lock := path()
	if err := os.Symlink(ordinary, lock+".lock"); err != nil {
		t.Fatal(err)
	}
	refuses(t, lock, "lock file")
	if b, _ := os.ReadFile(ordinary); string(b) != "precious" {
		t.Errorf("the file behind the link holds %q", b)
	}

	refuses(t, filepath.Join(path(), "missing", "s"), "directory must exist")
}

// crash ends a server's hold on its files as the death of its process would.
func crash(t *testing.T, path string) {
	t.Helper()
	s, err := Listen(testConfig(path), NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	_ = s.socket.listener.Close()
	_ = s.socket.lock.Close()
}

func TestSocketOfAnEarlierRunIsReplaced(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	crash(t, path)
	s, err := startAt(path, NewRegistry(), nil)
	if err != nil {
		t.Fatal(err)
	}
	mustAsk(t, connect(t, path), &Call{Sequence: 1}, false)
	if err := s.stop(); err != nil {
		t.Error(err)
	}

	// Somebody else's socket took the place of ours.
	crash(t, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	other.SetUnlinkOnClose(false)
	_ = other.Close()
	refuses(t, path, "did not make")
}

func TestShutdownRemovesOnlyItsOwnSocket(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	s, err := startAt(path, NewRegistry(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Errorf("the file in its place: %q, %v", b, err)
	}
}

func TestSocketMode(t *testing.T) {
	for _, mode := range []fs.FileMode{0o600, 0o660, 0o666} {
		s := start(t, NewRegistry(), func(c *Config) { c.Mode = mode })
		info, err := os.Lstat(s.path)
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("mode is %v, %v, want %v", info.Mode(), err, mode)
		}
	}
}

func TestConfigSaysAllThatIsWrong(t *testing.T) {
	var c Config
	err := c.Validate()
	var e *errs.Error
	if !errors.As(err, &e) || e.Code != errs.Invalid {
		t.Fatalf("an empty configuration: %v", err)
	}
	fields := map[string]bool{}
	for _, d := range e.Errata {
		fields[d.Field] = true
	}
	for _, f := range []string{"path", "mode", "max_message", "max_sessions", "max_sessions_per_uid", "max_calls", "message_timeout", "privileged", "max_bytes_per_uid", "logger"} {
		if !fields[f] {
			t.Errorf("nothing said of %s", f)
		}
	}
	for want, path := range map[string]string{"at most 107": "/" + strings.Repeat("x", 107), "abstract": "@name"} {
		c := testConfig(path)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("path %q: %v, want %q", path, err, want)
		}
	}
	c = testConfig("/" + strings.Repeat("x", 106))
	if err := c.Validate(); err != nil {
		t.Errorf("a path of 107 bytes: %v", err)
	}
	c.Mode = fs.ModeSetuid | 0o600
	if err := c.Validate(); err == nil {
		t.Error("a mode with setuid was taken")
	}
}

func TestDialErrorsAreToldApart(t *testing.T) {
	dir := socketDir(t)
	stale := filepath.Join(dir, "stale")
	crash(t, stale)
	ordinary := filepath.Join(dir, "ordinary")
	if err := os.WriteFile(ordinary, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for name, c := range map[string]struct {
		err  error
		want string
		code errs.Code
	}{
		"missing":   {dialled(context.Background(), filepath.Join(dir, "missing")), "is the agent running", errs.Unavailable},
		"stale":     {dialled(context.Background(), stale), "start it again", errs.Unavailable},
		"ordinary":  {dialled(context.Background(), ordinary), "is no socket", errs.Unavailable},
		"directory": {dialled(context.Background(), dir), "is no socket", errs.Unavailable},
		"empty":     {dialled(context.Background(), ""), "1 to 107", errs.Invalid},
		"long":      {dialled(context.Background(), strings.Repeat("x", 108)), "1 to 107", errs.Invalid},
		"cancelled": {dialled(cancelled, stale), "canceled", errs.Deadline},
		"denied":    {dialError(context.Background(), stale, syscall.EACCES), "run as root", errs.Unavailable},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) || errs.CodeOf(c.err) != c.code {
			t.Errorf("%s: %s %v, want %s with %q", name, errs.CodeOf(c.err), c.err, c.code, c.want)
		}
	}
	if !errs.NotSent(dialled(context.Background(), stale)) {
		t.Error("a failed dial does not say that nothing ran")
	}
}

func dialled(ctx context.Context, path string) error {
	l, err := Dial(ctx, path, DefaultMaxMessage)
	if err == nil {
		_ = l.Close()
	}
	return err
}
