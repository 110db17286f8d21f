package jsonrpc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

// MaxSocketPath is how many bytes the path of a socket may have: what the smallest of the
// systems we run on takes, less the NUL at the end.
const MaxSocketPath = 103

// claim is a socket that this process has bound and the lock that says so.
type claim struct {
	path     string
	lock     *os.File
	bound    fs.FileInfo // which file is ours
	listener *net.UnixListener
}

// listenUnix binds a socket at path with exactly this mode. It removes what a
// dead process of ours left there, and nothing else.
func listenUnix(path string, mode os.FileMode, gid int) (*claim, error) {
	if err := checkSocketPath(path); err != nil {
		return nil, err
	}
	lock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, err
	}
	c := &claim{path: path, lock: lock}
	if err := c.bind(mode, gid); err != nil {
		c.release()
		return nil, err
	}
	return c, nil
}

// socketPathWords begin what is said of a path.
const socketPathWords = "path of the json-rpc socket "

func checkSocketPath(path string) error {
	switch {
	case path == "":
		return errs.New(errs.Invalid, socketPathWords+"is empty: set it or disable the socket")
	case !filepath.IsAbs(path):
		return errs.Newf(errs.Invalid, socketPathWords+"%q must be absolute", path)
	case len(path) > MaxSocketPath:
		return errs.Newf(errs.Invalid, socketPathWords+"has %d bytes, %d at most: choose a shorter one than %q", len(path), MaxSocketPath, path)
	}
	return nil
}

// lockFile takes the lock that one process can hold. The file stays when the
// process ends: removing it would let two processes hold locks on different files
// of the same name.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, errs.Wrap(errs.Unavailable, "cannot open the lock of the json-rpc socket: "+err.Error(), err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, errs.Wrap(errs.Conflict, fmt.Sprintf("another process holds %s: stop it or choose another path for the socket", path), err)
	}
	return f, nil
}

// bind is called with the lock held.
func (c *claim) bind(mode os.FileMode, gid int) error {
	if err := removeStale(c.path); err != nil {
		return err
	}
	// The inode gets the mode before it has a name, so that there is no moment at
	// which others could connect; where that has no effect, chmod below does it.
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), uint32(mode.Perm()&0o700)) })
	}}
	l, err := lc.Listen(context.Background(), "unix", c.path)
	if err != nil {
		return errs.Wrap(errs.Unavailable, "cannot listen on the json-rpc socket: "+err.Error(), err)
	}
	c.listener = l.(*net.UnixListener)
	c.listener.SetUnlinkOnClose(false)
	if c.bound, err = os.Lstat(c.path); err != nil {
		return errs.Wrap(errs.Unavailable, "json-rpc socket vanished: "+err.Error(), err)
	}
	if gid >= 0 {
		if err := os.Lchown(c.path, -1, gid); err != nil {
			return errs.Wrap(errs.Unavailable, fmt.Sprintf("cannot give the json-rpc socket to group %d: %v", gid, err), err)
		}
	}
	if err := os.Chmod(c.path, mode.Perm()); err != nil {
		return errs.Wrap(errs.Unavailable, "cannot set the mode of the json-rpc socket: "+err.Error(), err)
	}
	return nil
}

// removeStale removes a socket that nobody serves. It refuses to touch anything
// that is not a socket, belongs to somebody else, or is answered.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return errs.Wrap(errs.Unavailable, "cannot look at the json-rpc socket: "+err.Error(), err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errs.Newf(errs.Conflict, "%s exists and is no socket: move it away or choose another path", path)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Geteuid() {
		return errs.Newf(errs.Conflict, "%s belongs to another user: remove it or choose another path", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = conn.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return errs.Newf(errs.Conflict, "another process serves %s: stop it or choose another path", path)
	}
	if err := os.Remove(path); err != nil {
		return errs.Wrap(errs.Unavailable, "cannot remove the socket that a dead process left: "+err.Error(), err)
	}
	return nil
}

// release stops listening, removes the socket if it is still the one that was
// bound, and gives the lock back.
func (c *claim) release() {
	if c.listener != nil {
		_ = c.listener.Close()
	}
	if now, err := os.Lstat(c.path); err == nil && c.bound != nil && os.SameFile(now, c.bound) {
		_ = os.Remove(c.path)
	}
	_ = c.lock.Close()
}
