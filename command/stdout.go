package command

import (
	"errors"
	"io"
	"sync"
	"syscall"
)

// stdout is the standard output of a command line. It remembers the first write that
// failed, so that a command does not say that all went well when its answer is lost.
type stdout struct {
	io.Writer
	mu  sync.Mutex
	err error // under mu
}

// Write writes to the output. Nobody is told of a reader who had enough: `| head`.
func (o *stdout) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if err != nil && !errors.Is(err, syscall.EPIPE) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.err == nil {
			o.err = err
		}
	}
	return n, err
}

// lost returns why something could not be written, nil if all was.
func (o *stdout) lost() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// confident says that all was written, to who would tell the user of the failure too.
type confident struct{ io.Writer }

// Write writes what can be written.
func (w confident) Write(p []byte) (int, error) {
	_, _ = w.Writer.Write(p)
	return len(p), nil
}

// bare returns what a stdout writes to, for processes and for whoever looks what it
// is; other writers are returned as they are.
func bare(w io.Writer) io.Writer {
	if o, ok := w.(*stdout); ok {
		return o.Writer
	}
	return w
}

// unwritten returns why something could not be written on standard output.
func (s *session) unwritten() error {
	if o, ok := s.stdout.(*stdout); ok {
		return o.lost()
	}
	return nil
}
