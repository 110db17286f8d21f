package archive

import (
	"bufio"
	"io"

	"github.com/cairn-project/cairn/nomad/state"
)

// Record is a row of the state in an archive.
type Record = state.Record

// Scan reads an archive to its end and tells each its rows, in order. What each was told
// may still be followed by an error: the sums come last. Damage is told of as such.
func Scan(r io.Reader, each func(*Record) error) (*Meta, error) {
	a, err := Open(r)
	if err != nil {
		return nil, err
	}
	var stopped error
	err = scanState(a, func(r *Record) error {
		stopped = each(r)
		return stopped
	})
	switch {
	case stopped != nil:
		return nil, stopped
	case err != nil:
		if _, damage := io.Copy(io.Discard, struct{ io.Reader }{a}); damage != nil {
			return nil, damage
		}
		return nil, err
	}
	return &a.Meta, nil
}

func scanState(a *Reader, each func(*Record) error) error {
	in := bufio.NewReaderSize(a, 256<<10)
	if _, err := ReadHead(in); err != nil {
		return err
	}
	_, err := state.Scan(in, each)
	return err
}
