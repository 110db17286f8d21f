package drpc

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cairn-project/cairn/internal/errs"
)

// answering runs a server whose method 1 of module 5 answers with a name.
func answering(t *testing.T, name string) *running {
	t.Helper()
	return start(t, module5(t, ends([]byte(name), nil)), nil)
}

func answerOf(t *testing.T, l *Link) string {
	t.Helper()
	return string(mustAsk(t, l, &Call{Module: 5, Method: 1}, true).Body)
}

func TestOnlyTheSocketOfItsUserIsDialled(t *testing.T) {
	s := answering(t, "mine")
	me := os.Geteuid()
	l, err := DialOwned(ctxBackground, s.path, me, DefaultMaxMessage)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := answerOf(t, l); got != "mine" {
		t.Errorf("answered by %q", got)
	}
	dir := socketDir(t)
	file, link, stale := filepath.Join(dir, "file"), filepath.Join(dir, "link"), filepath.Join(dir, "stale")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(s.path, link); err != nil {
		t.Fatal(err)
	}
	crash(t, stale)
	for path, want := range map[string]string{
		file: "is no socket", link: "is no socket", dir: "is no socket", filepath.Join(dir, "absent"): "cannot be looked at",
		stale: "nobody answers at " + stale, "": "1 to 107",
	} {
		l, err := DialOwned(ctxBackground, path, me, DefaultMaxMessage)
		if err == nil {
			_ = l.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "/proc") {
			t.Errorf("%q: %v, want %q", path, err, want)
		}
	}
	if _, err := DialOwned(ctxBackground, s.path, me+1, DefaultMaxMessage); !errs.NotSent(err) || !strings.Contains(err.Error(), "another user") {
		t.Errorf("the socket of another user: %v", err)
	}
}

// TestWhoListensMustBeTheOwner where the file cannot be held on to.
func TestWhoListensMustBeTheOwner(t *testing.T) {
	s := answering(t, "mine")
	me := os.Geteuid()
	conn, err := connectByPath(ctxBackground, s.path, me)
	if err != nil {
		t.Fatal(err)
	}
	l := NewLink(conn, DefaultMaxMessage)
	defer l.Close()
	if got := answerOf(t, l); got != "mine" {
		t.Errorf("answered by %q", got)
	}
	if _, err := connectByPath(ctxBackground, s.path, me+1); !errs.NotSent(err) || !strings.Contains(err.Error(), "another user") {
		t.Errorf("the socket of another user: %v", err)
	}
	if me != 0 {
		return // only root can give files away
	}
	if err := os.Chown(s.path, 1, -1); err != nil {
		if errors.Is(err, syscall.EINVAL) || errors.Is(err, fs.ErrPermission) {
			return // nor can root where there is but one user
		}
		t.Fatal(err)
	}
	if _, err := connectByPath(ctxBackground, s.path, 1); !errs.NotSent(err) || !strings.Contains(err.Error(), "uid 0 listens there") {
		t.Errorf("a socket at which another user listens: %v", err)
	}
}
