package drpc

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

const (
	// openPath is O_PATH of open(2), which package syscall lacks: a handle of the file
	// itself, that neither connects to a socket nor needs a right to it.
	openPath = 0x200000
	// ownFiles has a name for each open file of this process.
	ownFiles = "/proc/self/fd"
)

func connectOwned(ctx context.Context, path string, uid int) (*net.UnixConn, error) {
	return connectFile(ctx, path, uid, ownFiles)
}

// connectFile opens the file and connects to it by its name in files.
func connectFile(ctx context.Context, path string, uid int, files string) (*net.UnixConn, error) {
	f, err := openOwned(path, uid)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	conn, err := connectOpened(ctx, f, files)
	switch {
	case errors.Is(err, fs.ErrNotExist): // the file is open, so it is /proc that is not there
		return connectByPath(ctx, path, uid)
	case err != nil:
		return nil, dialError(ctx, path, named(err, path))
	}
	return conn, nil
}

// openOwned returns a handle of the user's socket.
func openOwned(path string, uid int) (*os.File, error) {
	f, err := os.OpenFile(path, openPath|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, notLookedAt(path, err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, notLookedAt(path, err)
	}
	if err := CheckOwner(path, info, uid); err != nil {
		_ = f.Close()
		return nil, notOwned(err)
	}
	return f, nil
}

func connectOpened(ctx context.Context, f *os.File, files string) (*net.UnixConn, error) {
	return dial(ctx, filepath.Join(files, strconv.Itoa(int(f.Fd()))))
}
