package command

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/hashicorp/nomad/api"
	"github.com/mattn/go-isatty"
)

// group is a set of options that many commands share.
type group uint

const (
	// withAgent adds the connection options.
	withAgent group = 1 << iota
	// withNamespace adds -namespace; it implies nothing else.
	withNamespace
	// withData adds -json and -t.
	withData
)

// session is one execution of a command: its streams, its connection and how
// to print results.
type session struct {
	ctx            context.Context
	opts           *Options
	stdin          io.Reader
	stdout, stderr io.Writer
	conn           connection

	json     bool
	template string

	noColor, forceColor bool

	api *api.Client
}

func newSession(opts *Options) *session {
	return &session{
		ctx: context.Background(), opts: opts,
		stdin: opts.Stdin, stdout: opts.Stdout, stderr: opts.Stderr,
	}
}

// declare adds the shared options of the groups to f.
func (s *session) declare(f *flags, groups group) {
	if groups&withData != 0 {
		f.boolean(&s.json, "json", "Print the answer as JSON.")
		f.text(&s.template, "t", "template", "Print the answer through a Go template.")
	}
	if groups&withNamespace != 0 {
		f.text(&s.conn.namespace, "namespace", "name", "Namespace to work in, \"default\" by default. Environment: CAIRN_NAMESPACE, NOMAD_NAMESPACE.", namespaceNames)
	}
	if groups&withAgent != 0 {
		s.conn.declare(f)
	}
	if groups != 0 {
		f.section = "Output options"
		f.boolean(&s.noColor, "no-color", "Print without colors. Environment: CAIRN_CLI_NO_COLOR, NOMAD_CLI_NO_COLOR, NO_COLOR.")
		f.boolean(&s.forceColor, "force-color", "Print colors although the output is not a terminal. Environment: CAIRN_CLI_FORCE_COLOR, NOMAD_CLI_FORCE_COLOR.")
	}
}

// settle checks and completes the shared options after parsing.
func (s *session) settle() error {
	if s.json && s.template != "" {
		return usagef("-json and -t exclude each other")
	}
	s.conn.fill(s.opts.Getenv)
	s.noColor = s.noColor || setting(s.opts.Getenv, "CLI_NO_COLOR") != "" || s.opts.Getenv("NO_COLOR") != ""
	s.forceColor = s.forceColor || setting(s.opts.Getenv, "CLI_FORCE_COLOR") != ""
	return nil
}

// client returns the API client of the session, made on first use.
func (s *session) client() (*api.Client, error) {
	if s.api == nil {
		client, err := s.conn.client(s.opts.Getenv)
		if err != nil {
			return nil, err
		}
		s.api = client
	}
	return s.api, nil
}

// query returns read options that end with the session.
func (s *session) query() *api.QueryOptions {
	return (&api.QueryOptions{}).WithContext(s.ctx)
}

// write returns write options that end with the session.
func (s *session) write() *api.WriteOptions {
	return (&api.WriteOptions{}).WithContext(s.ctx)
}

// say prints a line on standard output.
func (s *session) say(format string, args ...any) {
	fmt.Fprintf(s.stdout, format+"\n", args...)
}

// note prints a line on standard error, where it does not disturb data.
func (s *session) note(format string, args ...any) {
	fmt.Fprintf(s.stderr, format+"\n", args...)
}

// warn prints a warning on standard error.
func (s *session) warn(format string, args ...any) {
	s.note("warning: "+format, args...)
}

// color reports whether w may receive color codes.
func (s *session) color(w io.Writer) bool {
	switch {
	case s.noColor:
		return false
	case s.forceColor:
		return true
	}
	return isTerminal(w)
}

// isTerminal reports whether the stream is a terminal; v is a reader or writer.
func isTerminal(v any) bool {
	if w, ok := v.(io.Writer); ok {
		v = bare(w)
	}
	f, ok := v.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}
