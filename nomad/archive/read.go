package archive

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/cairn-project/cairn/internal/errs"
)

// maxSmall bounds the members beside the state, in bytes.
const maxSmall = 64 << 10

// Reader reads an archive. It belongs to one goroutine.
type Reader struct {
	Meta Meta
	src  *source
	gz   *gzip.Reader
	tar  *tar.Reader
	// meta and state are the sums of the members; left is what of state was not read.
	meta  [sha256.Size]byte
	state hash.Hash
	left  int64
	// over is the result once the end was looked at.
	over error
}

// source tells faults of the bytes from those of whoever gives them.
type source struct {
	*bufio.Reader
	from io.Reader
	err  error // not the end
}

func (s *source) fill(b []byte) (int, error) {
	n, err := s.from.Read(b)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

type fillFunc func([]byte) (int, error)

func (f fillFunc) Read(b []byte) (int, error) { return f(b) }

// Open reads what comes before the state.
func Open(r io.Reader) (*Reader, error) {
	src := &source{from: r}
	src.Reader = bufio.NewReaderSize(fillFunc(src.fill), 256<<10)
	a := &Reader{src: src, state: sha256.New()}
	var err error
	if a.gz, err = gzip.NewReader(src); err != nil {
		if src.err != nil {
			return nil, src.err
		}
		return nil, errs.New(errs.Invalid, "this is no archive of the state: it does not begin as one that `operator snapshot save` wrote")
	}
	a.gz.Multistream(false)
	a.tar = tar.NewReader(a.gz)
	raw, err := a.small(metaName)
	if err != nil {
		return nil, err
	}
	a.meta = sha256.Sum256(raw)
	if err := json.Unmarshal(raw, &a.Meta); err != nil {
		return nil, errs.Newf(errs.Invalid, "the archive is damaged: its %s is no JSON", metaName)
	}
	if a.Meta.Version > Version {
		return nil, errs.Newf(errs.Unsupported, "the archive has the form %d, which %s %s wrote; this program (form %d) is too old to read it: use that version, or a newer one",
			a.Meta.Version, a.Meta.Program, a.Meta.ProgramVersion, Version)
	}
	if a.Meta.Version < 1 || a.Meta.Program == "" {
		return nil, errs.New(errs.Invalid, "this is no archive of this program: another one wrote it")
	}
	h, err := a.next(stateName)
	if err != nil {
		return nil, err
	}
	if h.Size != a.Meta.Size {
		return nil, errs.Newf(errs.Invalid, "the archive is damaged: its state has %d bytes, and should have %d", h.Size, a.Meta.Size)
	}
	a.left = h.Size
	return a, nil
}

// next goes to the member of a name.
func (a *Reader) next(name string) (*tar.Header, error) {
	h, err := a.tar.Next()
	if err == io.EOF {
		return nil, errs.Newf(errs.Invalid, "the archive has no %s: it was cut short, or something else wrote it", name)
	}
	if err != nil {
		return nil, a.broken(err)
	}
	if h.Name != name || h.Typeflag != tar.TypeReg {
		return nil, errs.Newf(errs.Invalid, "this is no archive of the state: where %s should be it has %q", name, clip(h.Name))
	}
	return h, nil
}

func clip(s string) string { return s[:min(len(s), 64)] }

// small returns the contents of a member that is not the state.
func (a *Reader) small(name string) ([]byte, error) {
	h, err := a.next(name)
	if err != nil {
		return nil, err
	}
	if h.Size > maxSmall {
		return nil, errs.Newf(errs.Invalid, "the archive is damaged: its %s has %d bytes", name, h.Size)
	}
	b, err := io.ReadAll(a.tar)
	if err != nil {
		return nil, a.broken(err)
	}
	return b, nil
}

// broken says what a failure of the layers means.
func (a *Reader) broken(err error) error {
	switch {
	case a.src.err != nil:
		return a.src.err
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return errs.Wrap(errs.Invalid, "the archive is cut short: get it anew from where it was saved", err)
	case errors.Is(err, gzip.ErrChecksum):
		return errs.Wrap(errs.Invalid, "the archive is damaged: its checksum is wrong", err)
	}
	return errs.Wrap(errs.Invalid, "the archive is damaged: "+err.Error(), err)
}

// Read reads the state. It returns io.EOF only when all of the archive is as it was written.
func (a *Reader) Read(b []byte) (int, error) {
	if a.left == 0 {
		if a.over == nil {
			if a.over = a.finish(); a.over == nil {
				a.over = io.EOF
			}
		}
		return 0, a.over
	}
	n, err := a.tar.Read(b)
	a.state.Write(b[:n])
	a.left -= int64(n)
	if err == io.EOF && a.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && err != io.EOF {
		return n, a.broken(err)
	}
	return n, nil
}

// finish looks at the sums and that nothing follows.
func (a *Reader) finish() error {
	got, err := a.small(sumsName)
	if err != nil {
		return err
	}
	want := fmt.Sprintf("%x  %s\n%x  %s\n", a.meta, metaName, a.state.Sum(nil), stateName)
	if string(got) != want {
		return errs.Newf(errs.Invalid, "the archive is damaged: its contents are not those that its %s tells the sums of", sumsName)
	}
	if h, err := a.tar.Next(); err == nil {
		return errs.Newf(errs.Invalid, "this is no archive of the state: %q follows where nothing should", clip(h.Name))
	} else if err != io.EOF {
		return a.broken(err)
	}
	if n, err := io.Copy(io.Discard, io.LimitReader(a.gz, maxSmall)); err != nil { // padding, and the checksum of the whole
		return a.broken(err)
	} else if n == maxSmall {
		return errs.New(errs.Invalid, "this is no archive of the state: bytes follow its end")
	}
	if _, err := a.src.ReadByte(); err == nil {
		return errs.New(errs.Invalid, "this is no archive of the state: bytes follow its end")
	} else if err != io.EOF {
		return a.src.err
	}
	return nil
}

// Verify reads an archive to its end, for nothing but its sums.
func Verify(r io.Reader) (*Meta, error) {
	a, err := Open(r)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, struct{ io.Reader }{a}); err != nil {
		return nil, err
	}
	return &a.Meta, nil
}
