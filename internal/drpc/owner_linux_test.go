package drpc

import (
	"os"
	"testing"
)

// TestFileThatIsSwappedIsNotDialled: between the look at a socket and the connection
// another one takes its place, and the first is connected to.
func TestFileThatIsSwappedIsNotDialled(t *testing.T) {
	first, second := answering(t, "first"), answering(t, "second")
	f, err := openOwned(first.path, os.Geteuid())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Rename(second.path, first.path); err != nil {
		t.Fatal(err)
	}
	conn, err := connectOpened(ctxBackground, f, ownFiles)
	if err != nil {
		t.Fatal(err)
	}
	l := NewLink(conn, DefaultMaxMessage)
	defer l.Close()
	if got := answerOf(t, l); got != "first" {
		t.Errorf("answered by %q", got)
	}
	byPath := connect(t, first.path)
	if got := answerOf(t, byPath); got != "second" {
		t.Errorf("at the path answers %q: nothing was swapped", got)
	}
}

// TestOwnedSocketWithoutProc: the path will do then.
func TestOwnedSocketWithoutProc(t *testing.T) {
	s := answering(t, "mine")
	conn, err := connectFile(ctxBackground, s.path, os.Geteuid(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l := NewLink(conn, DefaultMaxMessage)
	defer l.Close()
	if got := answerOf(t, l); got != "mine" {
		t.Errorf("answered by %q", got)
	}
}
