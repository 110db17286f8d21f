package drpc

import (
	"os"
	"syscall"
	"testing"
)

// TestPassedDescriptorsAreClosed: a peer can send open files along with a
// packet; they must not pile up in the agent.
func TestPassedDescriptorsAreClosed(t *testing.T) {
	s := start(t, NewRegistry(), nil)
	l := connect(t, s.path)
	mustAsk(t, l, &Call{Sequence: 1}, false)
	before := openFiles(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	rights := syscall.UnixRights(int(null.Fd()), int(null.Fd()), int(null.Fd()))
	for range 20 {
		if _, _, err := l.conn.WriteMsgUnix([]byte{0x18, 2}, rights, nil); err != nil {
			t.Fatal(err)
		}
		if resp := mustRead(t, l); resp.Sequence != 2 {
			t.Fatalf("answered %v", resp)
		}
	}
	_ = null.Close()
	if after := openFiles(t); after > before {
		t.Errorf("%d files are open, %d were before", after, before)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}
