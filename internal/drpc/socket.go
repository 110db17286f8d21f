package drpc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

// socket is a listening socket file and the lock that makes it ours.
type socket struct {
	path     string
	listener *net.UnixListener
	lock     *os.File
	id       string
}

// openSocket takes the lock, clears away what an earlier run of ours left, and
// listens. It removes a file only if the lock file says that we made it.
func openSocket(path string, mode fs.FileMode, stream bool) (*socket, error) {
	lock, err := takeLock(path + ".lock")
	if err != nil {
		return nil, err
	}
	s := &socket{path: path, lock: lock}
	err = s.clear()
	if err == nil {
		err = s.listen(mode, stream)
	}
	if err != nil {
		_ = lock.Close()
		return nil, err
	}
	return s, nil
}

// takeLock opens and locks the file. The lock ends with the process, so a
// crash leaves nothing to clean up; the file stays, since removing it would
// let two processes hold locks on two files of one name.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, errs.Newf(errs.PreconditionFailed, "open the lock file of the socket: %w: the directory must exist and be writable for this user", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, errs.Newf(errs.Conflict, "another process holds %s: an agent is running with this socket, stop it or configure another path (%w)", path, err)
	}
	return f, nil
}

// clear makes room at the path, or says why it may not.
func (s *socket) clear() error {
	info, err := os.Lstat(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return errs.Newf(errs.PreconditionFailed, "look at the socket's path: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return errs.Newf(errs.Conflict, "%s exists and is no socket: move it away or configure another path", s.path)
	}
	if conn, err := dial(context.Background(), s.path); err == nil {
		_ = conn.Close()
		return errs.Newf(errs.Conflict, "%s is in use: a process answers there, stop it or configure another path", s.path)
	} else if !errors.Is(err, syscall.ECONNREFUSED) {
		return errs.Newf(errs.Conflict, "%s exists and cannot be probed (%w): remove it by hand if no process needs it", s.path, err)
	}
	if recorded, err := s.recorded(); err != nil || recorded != fileID(info) {
		return errs.Newf(errs.Conflict, "%s is a socket that nobody answers and that this agent did not make: remove it by hand", s.path)
	}
	if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errs.Newf(errs.PreconditionFailed, "remove the socket of an earlier run: %w", err)
	}
	return nil
}

// listen makes the socket with no more rights than mode at any moment, and
// records in the lock file that it is ours.
func (s *socket) listen(mode fs.FileMode, stream bool) error {
	network := "unixpacket"
	if stream {
		network = "unix"
	}
	l, err := listenUnix(network, s.path)
	if err != nil && !stream && noSuchKind(err) {
		l, err = listenUnix("unix", s.path)
	}
	if err != nil {
		return errs.Newf(errs.PreconditionFailed, "listen on the agent's socket: %w", err)
	}
	l.SetUnlinkOnClose(false) // only after a look at whose it is
	if err = os.Chmod(s.path, mode); err == nil {
		err = s.record()
	}
	if err != nil {
		_ = l.Close()
		_ = os.Remove(s.path)
		return errs.Newf(errs.PreconditionFailed, "prepare the agent's socket: %w", err)
	}
	s.listener = l
	return nil
}

func listenUnix(network, path string) (*net.UnixListener, error) {
	cfg := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			// The file gets the mode that its socket has when it is bound.
			_ = syscall.Fchmod(int(fd), 0o600)
			_ = passCredentials(int(fd))
		})
	}}
	l, err := cfg.Listen(context.Background(), network, path)
	if err != nil {
		return nil, err
	}
	return l.(*net.UnixListener), nil
}

// noSuchKind reports that the system has no sockets of the kind asked for.
func noSuchKind(err error) bool {
	return errors.Is(err, syscall.EPROTONOSUPPORT) || errors.Is(err, syscall.ESOCKTNOSUPPORT) || errors.Is(err, syscall.EPROTOTYPE)
}

// record notes in the lock file which file the socket is.
func (s *socket) record() error {
	info, err := os.Lstat(s.path)
	if err != nil {
		return err
	}
	s.id = fileID(info)
	if err := s.lock.Truncate(0); err != nil {
		return err
	}
	if _, err := s.lock.WriteAt([]byte(s.id+"\n"), 0); err != nil {
		return err
	}
	// After a loss of power the socket would be there and what says that it is ours not.
	return s.lock.Sync()
}

// recorded returns which file an earlier run made.
func (s *socket) recorded() (string, error) {
	var b [256]byte
	n, err := s.lock.ReadAt(b[:], 0)
	if n == 0 {
		return "", err
	}
	return strings.TrimSpace(string(b[:n])), nil
}

// fileID tells a file from any other that was or will be at its path: inode
// numbers are used again, times are not.
func fileID(info fs.FileInfo) string {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("socket dev %d inode %d made %s", st.Dev, st.Ino, info.ModTime().UTC().Format(time.RFC3339Nano))
}

// close stops listening, removes the file if it is still ours, and lets the lock go.
func (s *socket) close() error {
	err := s.listener.Close()
	if info, statErr := os.Lstat(s.path); statErr == nil && fileID(info) == s.id {
		err = errors.Join(err, os.Remove(s.path))
	}
	return errors.Join(err, s.lock.Close())
}

// dial connects to a socket of either kind.
func dial(ctx context.Context, path string) (*net.UnixConn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unixpacket", path)
	if err != nil && noSuchKind(err) {
		conn, err = d.DialContext(ctx, "unix", path)
	}
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// Dial connects to a server and says what to do where that fails.
func Dial(ctx context.Context, path string, maxMessage int) (*Link, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	conn, err := dial(ctx, path)
	if err != nil {
		return nil, dialError(ctx, path, err)
	}
	return NewLink(conn, maxMessage), nil
}

func checkPath(path string) error {
	if len(path) == 0 || len(path) > MaxPath {
		return errs.Newf(errs.Invalid, "socket path %q has %d bytes, it needs 1 to %d", path, len(path), MaxPath)
	}
	return nil
}

func isSocket(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Type() == fs.ModeSocket
}

func dialError(ctx context.Context, path string, err error) error {
	why := "connect to %s: %w"
	switch {
	case ctx.Err() != nil:
		return errs.Newf(errs.Deadline, "connect to %s: %w", path, ctx.Err())
	case errors.Is(err, fs.ErrNotExist):
		why = "there is no socket %s (%w): is the agent running, and is this the path it was given?"
	case errors.Is(err, syscall.ECONNREFUSED) && !isSocket(path): // the system says the same of both
		why = "%s is no socket (%w): give the path of the agent's"
	case errors.Is(err, syscall.ECONNREFUSED):
		why = "nobody answers at %s (%w): the agent that made the socket is gone, start it again"
	case errors.Is(err, fs.ErrPermission):
		why = "this user may not connect to %s (%w): run as root or the agent's user, or use the socket for workloads"
	}
	return errs.Lost(errs.ExecutedNo, fmt.Sprintf(strings.Replace(why, "%w", "%v", 1), path, err), err)
}
