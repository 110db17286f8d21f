package archive

import (
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cairn-project/cairn/internal/errs"
)

const (
	// SpareRoom is what a disk has left, in bytes, beside what an archive takes: other
	// things are written there that must not fail.
	SpareRoom = 64 << 20
	// unfinished ends the names of files that are not whole; a point begins them.
	unfinished = ".part"
)

// Room fails unless the disk of f has room for so many bytes, and some to spare.
func Room(f *os.File, bytes int64) error {
	var disk syscall.Statfs_t
	if err := syscall.Fstatfs(int(f.Fd()), &disk); err != nil {
		return nil // the writing will tell
	}
	if free := disk.Bavail * uint64(disk.Bsize); free < uint64(bytes)+SpareRoom {
		return errs.Newf(errs.TooLarge, "the disk of the archive has %d MB left, and it needs %d MB and %d MB to spare: make room there",
			free>>20, bytes>>20, SpareRoom>>20)
	}
	return nil
}

// File is an archive on a disk.
type File struct {
	Meta Meta
	// Size is that of the file in bytes, Sum its SHA-256.
	Size int64
	Sum  [sha256.Size]byte
}

// SaveFile writes an archive under a name that it gets once it is whole, was checked and
// is on the disk. Only its owner can read it. What has the name already stays, and is an error.
func SaveFile(name string, body io.Reader) (*File, error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*"+unfinished) // with mode 0600
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name()) // nothing is there once it has its name
	defer f.Close()
	out := &File{}
	sum := sha256.New()
	if out.Size, err = io.Copy(f, io.TeeReader(body, sum)); err != nil {
		return nil, err
	}
	sum.Sum(out.Sum[:0])
	if err := f.Sync(); err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	meta, err := Verify(f)
	if err != nil {
		return nil, err
	}
	out.Meta = *meta
	if err := rename(f.Name(), name); err != nil {
		return nil, err
	}
	return out, SyncDir(filepath.Dir(name))
}

// rename does not replace what has the name.
func rename(from, to string) error {
	err := os.Link(from, to) // which says so if there is something, at any time
	if err == nil {
		return os.Remove(from)
	}
	if !errors.Is(err, fs.ErrExist) { // not every file system knows links
		if _, err = os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			return os.Rename(from, to)
		}
	}
	return Taken(to)
}

// Taken is the error for a name that something has.
func Taken(name string) error {
	return errs.Newf(errs.Conflict, "%s exists: give another name, or remove it", name)
}

// SyncDir makes the names of the files in a directory last.
func SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// RemoveUnfinished removes from a directory what SaveFile left there when its process
// died. Nothing may be saved there meanwhile.
func RemoveUnfinished(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") && strings.HasSuffix(e.Name(), unfinished) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}
