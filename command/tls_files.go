package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// The names and times that the commands start from.
const (
	tlsDomain = "nomad"
	tlsRegion = "global"
	day       = 24 * time.Hour
)

// tlsDays turns the value of -days into a time.
func tlsDays(n uint64) (time.Duration, error) {
	if n == 0 || n > 36500 {
		return 0, usagef("-days must be from 1 to 36500")
	}
	return time.Duration(n) * day, nil
}

// writePair writes a certificate and its key, which nobody else can read. It
// overwrites neither, and leaves none without the other.
func (s *session) writePair(certFile, keyFile string, cert, key []byte) error {
	for _, name := range []string{certFile, keyFile} {
		if _, err := os.Lstat(name); err == nil {
			return hinted(fmt.Errorf("%s exists already and is not overwritten", name), "move it away, or work in another directory")
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := writeFresh(keyFile, key, 0o600); err != nil {
		return err
	}
	if err := writeFresh(certFile, cert, 0o644); err != nil {
		_ = os.Remove(keyFile)
		return err
	}
	s.say("wrote %s", certFile)
	s.say("wrote %s", keyFile)
	return nil
}

// writeFresh writes a file that does not exist yet.
func writeFresh(name string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if serr := f.Sync(); err == nil {
		err = serr
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = os.Remove(name)
	}
	return err
}
