package archive

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"time"
)

// counted counts and sums what is written.
type counted struct {
	hash.Hash
	size int64
}

func (c *counted) Write(b []byte) (int, error) {
	c.size += int64(len(b))
	return c.Hash.Write(b)
}

// Write writes an archive to w and returns what its meta.json says. state writes state.bin
// and is called twice, as a tar file tells the size of a member before it: it must write
// the same both times.
func Write(w io.Writer, m Meta, state func(io.Writer) error) (*Meta, error) {
	look := &counted{Hash: sha256.New()}
	if err := state(look); err != nil {
		return nil, err
	}
	m.Version, m.Size, m.Created = Version, look.size, m.Created.UTC().Truncate(time.Second)
	meta, err := json.MarshalIndent(&m, "", "  ")
	if err != nil {
		return nil, err
	}
	meta = append(meta, '\n')
	gz, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // the level is a valid one
	t := tar.NewWriter(gz)
	sum := sha256.New()
	sums := fmt.Sprintf("%x  %s\n%x  %s\n", sha256.Sum256(meta), metaName, look.Sum(nil), stateName)
	for _, member := range []struct {
		name  string
		size  int64
		write func(io.Writer) error
	}{
		{metaName, int64(len(meta)), func(w io.Writer) error { _, err := w.Write(meta); return err }},
		{stateName, m.Size, func(w io.Writer) error { return state(io.MultiWriter(w, sum)) }},
		{sumsName, int64(len(sums)), func(w io.Writer) error { _, err := io.WriteString(w, sums); return err }},
	} {
		h := &tar.Header{Name: member.name, Mode: 0o600, Size: member.size, ModTime: m.Created, Format: tar.FormatPAX}
		if err := t.WriteHeader(h); err != nil {
			return nil, err
		}
		if err := member.write(t); err != nil {
			return nil, err
		}
	}
	if [sha256.Size]byte(sum.Sum(nil)) != [sha256.Size]byte(look.Sum(nil)) {
		return nil, fmt.Errorf("the state was not written the same twice")
	}
	if err := t.Close(); err != nil {
		return nil, err
	}
	return &m, gz.Close()
}
