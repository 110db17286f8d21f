package drpc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"

	"github.com/cairn-project/cairn/internal/errs"
)

// CheckOwner says why a file is not the socket of a user, nil if it is.
func CheckOwner(path string, info fs.FileInfo, uid int) error {
	if info.Mode().Type() != fs.ModeSocket {
		return errs.Newf(errs.Invalid, "socket %q: is no socket", path)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != uid {
		return errs.Newf(errs.PermissionDenied, "socket %q: belongs to another user than uid %d", path, uid)
	}
	return nil
}

// DialOwned is Dial for a path that a user of the machine gave: that user could name a
// socket that is open to this process and not to him. On Linux the file whose owner is
// looked at is the one that is connected to, whatever the path names by then.
func DialOwned(ctx context.Context, path string, uid, maxMessage int) (*Link, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	conn, err := connectOwned(ctx, path, uid)
	if err != nil {
		return nil, err
	}
	return NewLink(conn, maxMessage), nil
}

// connectByPath is for where a file cannot be connected to but by its path. It asks the
// kernel who listens there, since the path may name another file than the one looked at.
func connectByPath(ctx context.Context, path string, uid int) (*net.UnixConn, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, notLookedAt(path, err)
	}
	if err := CheckOwner(path, info, uid); err != nil {
		return nil, notOwned(err)
	}
	conn, err := dial(ctx, path)
	if err != nil {
		return nil, dialError(ctx, path, err)
	}
	if p := peerOf(conn); p.Known && p.UID != uid {
		_ = conn.Close()
		return nil, notOwned(fmt.Errorf("socket %q: uid %d listens there, not uid %d", path, p.UID, uid))
	}
	return conn, nil
}

func notLookedAt(path string, err error) error {
	return errs.Lost(errs.ExecutedNo, fmt.Sprintf("socket %q: cannot be looked at (%v)", path, err), err)
}

func notOwned(err error) error { return errs.Lost(errs.ExecutedNo, err.Error(), err) }

// named puts the path that was asked for into an error of a dial that took another way.
func named(err error, path string) error {
	var op *net.OpError
	if errors.As(err, &op) {
		op.Addr = &net.UnixAddr{Name: path, Net: op.Net}
	}
	return err
}
