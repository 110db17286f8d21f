package command

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/nomad/api"
)

// errHelp asks for the command's help and exit code 1.
var errHelp = errors.New("help")

// failure ends a command with an exit code.
type failure struct {
	code int
	// err is shown to the user; nil shows nothing.
	err error
	// hint says what to do next, "" for nothing.
	hint string
	// lost is true when nobody answered.
	lost bool
}

// Error returns the text for the user.
func (f *failure) Error() string {
	if f.err == nil {
		return fmt.Sprintf("exit code %d", f.code)
	}
	return f.err.Error()
}

// Unwrap returns what the user is shown.
func (f *failure) Unwrap() error { return f.err }

// usageError is a mistake on the command line.
type usageError struct{ msg string }

// Error returns the text for the user.
func (u *usageError) Error() string { return u.msg }

func usagef(format string, args ...any) error {
	return &usageError{msg: fmt.Sprintf(format, args...)}
}

// hinted attaches what to do next to an error.
func hinted(err error, hint string) error {
	return &failure{code: exitFailed, err: err, hint: hint}
}

// failed says what was being done when err came from the API. It keeps err
// reachable for errors.As.
func failed(doing string, err error) error {
	return fmt.Errorf("%s: %w", doing, err)
}

// report prints err and returns the exit code for it.
func (s *session) report(name string, err error) int {
	if err == nil {
		return exitOK
	}
	code, hint := exitFailed, ""
	var f *failure
	var u *usageError
	switch {
	case errors.As(err, &f):
		if f.err == nil {
			return f.code
		}
		code, hint = f.code, f.hint
	case errors.As(err, &u):
		hint = fmt.Sprintf("run `%s %s -h` for help", program, name)
	}
	text, advice := s.explain(err)
	if hint == "" {
		hint = advice
	}
	label := "error:"
	if s.color(s.stderr) {
		label = "\x1b[31m" + label + "\x1b[0m"
	}
	s.note("%s %s", label, text)
	if hint != "" {
		s.note("%s", hint)
	}
	return code
}

// explain returns the text of an error of the API and what to do next.
func (s *session) explain(err error) (text, hint string) {
	text = err.Error()
	var status api.UnexpectedResponseError
	if errors.As(err, &status) {
		reason := status.Body()
		if reason == "" || strings.HasPrefix(reason, "{") {
			reason = strings.ToLower(status.StatusText()) // a conflict carries the object, secrets and all
		}
		reason = fmt.Sprintf("%s (HTTP %d)", lowerFirst(cleanLines(reason)), status.StatusCode())
		hint = statusHint(status.StatusCode(), reason)
		if s.conn.token != "" && strings.HasPrefix(reason, "permission denied (") {
			hint = "the token that is used may not do this, or it expired or was deleted: `cairn acl token self` shows it if it is valid, -token or CAIRN_TOKEN gives another"
		}
		return strings.Replace(text, status.Error(), reason, 1), hint
	}
	return text, s.transportHint(err)
}

func statusHint(code int, reason string) string {
	switch {
	case strings.Contains(reason, "HTTPS server"):
		return "the agent speaks TLS: use an address that starts with https://"
	case strings.Contains(reason, "while access control is off"):
		return "" // there are no tokens, and the reason says whom to ask
	case code == http.StatusForbidden || code == http.StatusUnauthorized:
		return "give a token that may do this with -token or CAIRN_TOKEN"
	case code >= http.StatusInternalServerError && strings.Contains(strings.ToLower(reason), "leader"):
		return "wait for an election, or look at `cairn server members` and `cairn operator raft list-peers -stale`"
	case strings.Contains(strings.ToLower(reason), "no path to region"):
		return "check -region and CAIRN_REGION: `cairn operator api /v1/regions` lists the regions"
	case code == http.StatusNotFound && strings.HasPrefix(reason, "namespace "):
		return "`cairn namespace list` shows what there is, and `cairn namespace apply` makes another"
	case strings.HasPrefix(reason, "no answer from region"):
		return "this region goes on without it, but for writes of what regions share: `cairn server members` and the log of the servers there tell more"
	case code == http.StatusTooManyRequests:
		return "the agent limits requests: try again later"
	}
	return ""
}

// transportHint says what to do when the agent could not be reached.
func (s *session) transportHint(err error) string {
	var (
		dns       *net.DNSError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		record    tls.RecordHeaderError
		timeout   interface{ Timeout() bool }
	)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT) && strings.HasPrefix(s.conn.address, "unix:"):
		return fmt.Sprintf("is an agent running at %s? start one with `cairn agent -dev` or set CAIRN_ADDR", s.conn.shown())
	case errors.As(err, &dns):
		return "check the name in -address or CAIRN_ADDR"
	case errors.As(err, &authority):
		return "name the certificate authority with -ca-cert or CAIRN_CACERT"
	case errors.As(err, &host):
		return "name what the certificate holds with -tls-server-name, such as server.global.nomad"
	case errors.As(err, &record), strings.Contains(err.Error(), "HTTP response to HTTPS client"):
		return "the agent does not speak TLS: use an address that starts with http://"
	case strings.Contains(err.Error(), "certificate required"), strings.Contains(err.Error(), "bad certificate"):
		return "show a certificate with -client-cert and -client-key"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Sprintf("the agent at %s closed the connection: check its log, or whether it speaks TLS", s.conn.shown())
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Sprintf("no answer from %s: check the network and the address", s.conn.shown())
	}
	return ""
}

// isStatus reports whether err is an answer of the API with the status.
func isStatus(err error, code int) bool {
	var status api.UnexpectedResponseError
	return errors.As(err, &status) && status.StatusCode() == code
}

// lowerFirst makes a sentence start in lower case unless it starts with an acronym.
func lowerFirst(text string) string {
	r, n := utf8.DecodeRuneInString(text)
	if second, _ := utf8.DecodeRuneInString(text[n:]); !unicode.IsUpper(r) || unicode.IsUpper(second) {
		return text
	}
	return string(unicode.ToLower(r)) + text[n:]
}
