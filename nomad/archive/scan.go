package archive

import (
	"bufio"
	"io"

	"github.com/cairn-project/cairn/nomad/state"
)

// Record is a row of the state in an archive.
type Record = state.Record

// Scan reads an archive to its end and tells each its rows, in order. What each was told
// may still be followed by an error: the sums come last.
func Scan(r io.Reader, each func(*Record) error) (*Meta, error) {
	a, err := Open(r)
	if err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(a, 256<<10)
	if _, err := ReadHead(in); err != nil {
		return nil, err
	}
	if _, err := state.Scan(in, each); err != nil {
		return nil, err
	}
	return &a.Meta, nil
}
