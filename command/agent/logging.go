package agent

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// newLogger returns the parent of all loggers. close flushes and closes the
// log file, if there is one.
func newLogger(c *Config, out io.Writer) (logger hclog.Logger, closeFile func() error, err error) {
	closeFile = func() error { return nil }
	if c.LogFile != "" {
		f, err := openLogFile(c)
		if err != nil {
			return nil, nil, fmt.Errorf("log_file: %w", err)
		}
		out = io.MultiWriter(out, f)
		closeFile = f.Close
	}
	return hclog.NewInterceptLogger(&hclog.LoggerOptions{
		Name:            "cairn",
		Level:           hclog.LevelFromString(c.LogLevel),
		Output:          out,
		JSONFormat:      c.LogJSON,
		IncludeLocation: c.LogIncludeLocation,
	}), closeFile, nil
}

// logFile is a file that is put aside when it is too large or too old.
type logFile struct {
	path     string
	maxBytes int64
	maxAge   time.Duration
	maxFiles int

	mu     sync.Mutex
	file   *os.File
	size   int64
	opened time.Time
}

// logPath returns the file that is logged to, "" for none.
func (c *Config) logPath() string {
	if strings.HasSuffix(c.LogFile, string(filepath.Separator)) {
		return filepath.Join(c.LogFile, "cairn.log")
	}
	return c.LogFile
}

func openLogFile(c *Config) (*logFile, error) {
	l := &logFile{
		path:     c.logPath(),
		maxBytes: int64(c.LogRotateBytes),
		maxAge:   c.LogRotateDuration,
		maxFiles: c.LogRotateMaxFiles,
	}
	return l, l.open()
}

func (l *logFile) open() error {
	if err := os.MkdirAll(filepath.Dir(l.path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	l.file, l.size, l.opened = f, info.Size(), time.Now()
	return nil
}

// Write appends one line of the log.
func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	tooLarge := l.maxBytes > 0 && l.size > 0 && l.size+int64(len(b)) > l.maxBytes
	if tooLarge || l.maxAge > 0 && time.Since(l.opened) > l.maxAge {
		if err := l.rotateLocked(); err != nil {
			return 0, err
		}
	}
	n, err := l.file.Write(b)
	l.size += int64(n)
	return n, err
}

// rotateLocked puts the file aside and removes the oldest ones; l.mu is held.
func (l *logFile) rotateLocked() error {
	if err := l.file.Close(); err != nil {
		return err
	}
	ext := filepath.Ext(l.path)
	stem := strings.TrimSuffix(l.path, ext)
	if err := os.Rename(l.path, fmt.Sprintf("%s-%d%s", stem, time.Now().UnixNano(), ext)); err != nil {
		return err
	}
	if l.maxFiles > 0 {
		old, _ := filepath.Glob(stem + "-*" + ext) // the pattern is well-formed
		slices.Sort(old)
		for _, name := range old[:max(0, len(old)-l.maxFiles)] {
			if err := os.Remove(name); err != nil {
				return err
			}
		}
	}
	return l.open()
}

// Close closes the file.
func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}
