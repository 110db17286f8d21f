package client

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// maxStateFile bounds a file of the state directory, in bytes.
const maxStateFile = 1 << 20

// stateDir is the directory of what must survive a restart. One agent uses it
// at a time.
type stateDir struct {
	path string
	// temporary says that close removes it.
	temporary bool
	lock      *os.File
}

// openState makes the directory if need be and locks it; "" makes a temporary one.
func openState(path string) (_ *stateDir, err error) {
	s := &stateDir{path: path, temporary: path == ""}
	if s.temporary {
		s.path, err = os.MkdirTemp("", "cairn-client-")
	} else {
		err = os.MkdirAll(path, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("making the client's state directory: %w", err)
	}
	if s.lock, err = os.OpenFile(s.file("lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, fmt.Errorf("locking the client's state directory: %w", err)
	}
	if err := syscall.Flock(int(s.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = s.lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("another agent uses the client's state directory %s: stop it, or give this one a state_dir of its own", path)
		}
		return nil, fmt.Errorf("locking the client's state directory: %w", err)
	}
	if err := s.sweep(0); err != nil { // nobody else writes here now
		return nil, errors.Join(fmt.Errorf("cleaning the client's state directory: %w", err), s.lock.Close())
	}
	return s, nil
}

func (s *stateDir) file(name string) string { return filepath.Join(s.path, name) }

// read returns a file, nil if there is none.
func (s *stateDir) read(name string) ([]byte, error) {
	info, err := os.Stat(s.file(name))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case info.Size() > maxStateFile:
		return nil, fmt.Errorf("%s is larger than %d bytes: it was not written by this agent", s.file(name), maxStateFile)
	}
	return os.ReadFile(s.file(name))
}

// write replaces a file so that a crash leaves the old one or the new one. Only
// its owner may read it.
func (s *stateDir) write(name string, data []byte) error {
	if err := s.replace(name, data); err != nil {
		return fmt.Errorf("writing the client's state: %w", err)
	}
	return nil
}

func (s *stateDir) replace(name string, data []byte) error {
	f, err := os.CreateTemp(s.path, "."+name+"-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), s.file(name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(s.path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// close lets another agent use the directory.
func (s *stateDir) close() error {
	err := s.lock.Close()
	if s.temporary {
		err = errors.Join(err, os.RemoveAll(s.path))
	}
	return err
}

// sweep removes what is left of writes that a crash cut off, if it is of that age.
func (s *stateDir) sweep(age time.Duration) error {
	left, err := filepath.Glob(s.file(".*-*"))
	for _, path := range left {
		if info, bad := os.Stat(path); bad == nil && time.Since(info.ModTime()) >= age {
			err = errors.Join(err, os.Remove(path))
		}
	}
	return err
}

// sweepAge is how old a file must be to be no write that is under way.
const sweepAge = time.Minute
