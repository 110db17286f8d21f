package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jsonrpc"
)

// Exit codes of the rpc commands; 75 is EX_TEMPFAIL of sysexits.h.
const (
	exitRPCError      = 2
	exitUnimplemented = 3
	exitTryAgain      = 75
)

var rpcExits = []exit{
	{exitRPCError, "the call failed, or no answer came"},
	{exitUnimplemented, "there is no such method"},
	{exitTryAgain, "busy, no leader, not reached, or no answer in time: try again"},
}

// maxRPCAnswer bounds an answer over HTTP, in bytes.
const maxRPCAnswer = 64 << 20

// rpcCall are the options of all rpc commands: how to reach the operator node
// and how to print what it answers.
type rpcCall struct {
	socket, http, format string
	// node is the node whose agent is meant, "" for the operator node.
	node    string
	timeout time.Duration
}

func newRPCCall() rpcCall { return rpcCall{format: "table", timeout: 30 * time.Second} }

func (c *rpcCall) flags(f *flags) {
	f.text(&c.format, "format", "form", "How to print answers: "+oneOfValues("table", "json", "rpc")+". json is the answer as it came, rpc shows the request too.", oneOf("table", "json", "rpc"))
	f.duration(&c.timeout, "timeout", "How long to wait for an answer, 0 for as long as it takes. Default: 30s.")
	f.text(&c.socket, "socket", "path", "Socket of the operator node, as the agent shows it at start. Environment: CAIRN_RPC_SOCKET. Without it the HTTP address is used.", anyFile)
	f.text(&c.http, "http", "url", "Address of the agent's HTTP API, even if the environment names a socket; the same as -address.")
}

// settle completes the options.
func (c *rpcCall) settle(s *session) error {
	switch {
	case c.format != "table" && c.format != "json" && c.format != "rpc":
		return usagef("-format %q: must be %s", c.format, oneOfValues("table", "json", "rpc"))
	case c.socket != "" && c.http != "":
		return usagef("-socket and -http exclude each other")
	case c.timeout < 0:
		return usagef("-timeout must not be negative")
	case c.http != "":
		s.conn.address = c.http
		s.conn.fill(s.opts.Getenv)
	case c.socket == "":
		c.socket = setting(s.opts.Getenv, "RPC_SOCKET")
	}
	return c.settleNode(s)
}

// context returns the context of one exchange.
func (c *rpcCall) context(s *session) (context.Context, context.CancelFunc) {
	if c.timeout == 0 {
		return context.WithCancel(s.ctx)
	}
	return context.WithTimeout(s.ctx, c.timeout)
}

// exchange sends one message and returns everything that it is answered with; nothing
// for notifications. Beside an error it returns the answers that came whole before.
func (c *rpcCall) exchange(s *session, msg []byte) ([]byte, error) {
	ctx, cancel := c.context(s)
	defer cancel()
	if c.socket == "" {
		return c.post(ctx, s, msg)
	}
	client := &jsonrpc.Client{Path: c.socket}
	defer client.Close()
	out, err := client.Raw(ctx, msg)
	if err != nil {
		whole := out[:bytes.LastIndexByte(out, '\n')+1]
		return bytes.TrimSpace(whole), lostCall(err, "is an agent running? its log says where the socket is; without -socket the HTTP address is used")
	}
	return bytes.TrimSpace(out), nil
}

// post sends a message to /v1/rpc.
func (c *rpcCall) post(ctx context.Context, s *session, msg []byte) ([]byte, error) {
	base := operatorAPI{headers: []string{"Content-Type: application/json"}}
	req, err := base.request(s, http.MethodPost, "/v1/rpc", bytes.NewReader(msg))
	if err != nil {
		return nil, err
	}
	req.URL.RawQuery = ""
	client, err := s.client()
	if err != nil {
		return nil, err
	}
	resp, err := client.Raw().Do(req.WithContext(ctx))
	if err != nil {
		return nil, lostCall(failed("calling the operator node", err), "")
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(io.LimitReader(resp.Body, maxRPCAnswer+1))
	switch {
	case err != nil:
		return nil, lostCall(failed("reading the answer", err), "")
	case len(out) > maxRPCAnswer:
		return nil, &failure{code: exitRPCError, err: fmt.Errorf("the answer has more than %d bytes", maxRPCAnswer)}
	case !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") && resp.StatusCode != http.StatusNoContent:
		return nil, c.refused(resp, string(out))
	}
	return bytes.TrimSpace(out), nil
}

// lostCall is the failure of an exchange that brought no answer. One that only took
// too long may be tried again.
func lostCall(err error, hint string) *failure {
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer in time: %w", context.DeadlineExceeded) // wherever it was up: err may say something else
		return &failure{code: exitTryAgain, err: err, hint: "-timeout says how long to wait; whether the call took effect is not known", lost: true}
	}
	if errors.Is(err, errs.TooLarge) {
		return &failure{code: exitRPCError, err: err, hint: "ask for less, such as by per_page, prefix or filter"}
	}
	return &failure{code: exitRPCError, err: err, hint: hint, lost: true}
}

// refused is the failure for an answer that is not of the operator node.
func (c *rpcCall) refused(resp *http.Response, text string) error {
	text = cleanLines(text)
	f := &failure{code: exitRPCError, err: fmt.Errorf("calling the operator node: %s (HTTP %d)", lowerFirst(text), resp.StatusCode), hint: statusHint(resp.StatusCode, text)}
	switch resp.StatusCode {
	case http.StatusNotFound:
		f.hint = "the agent has no operator node: its version may be too old"
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		f.code = exitTryAgain
	}
	return f
}

// invoke calls one method and decodes its result.
func (c *rpcCall) invoke(s *session, method string, params, result any) error {
	m, err := newMessage(method, params)
	if err != nil {
		return err
	}
	out, err := c.exchange(s, m.encode(c.token(s)))
	if err != nil {
		return err
	}
	answers, err := parseAnswers(out)
	if err != nil || len(answers) != 1 {
		return &failure{code: exitRPCError, err: errors.Join(errors.New("the answer is no answer of JSON-RPC"), err)}
	}
	if answers[0].Error != nil {
		return c.failed(answers[0].Error)
	}
	return json.Unmarshal(answers[0].Result, result)
}

// token returns the secret to put into messages: on the socket there are no headers.
func (c *rpcCall) token(s *session) string {
	if c.socket == "" {
		return ""
	}
	return s.conn.token
}

// rpcFailure ends the command with the code that an error of the node stands for.
func rpcFailure(e *jsonrpc.Error) *failure {
	f := &failure{code: exitRPCError, err: errors.New(rpcErrorText(e))}
	switch e.Code {
	case jsonrpc.CodeMethodNotFound:
		f.code, f.hint = exitUnimplemented, "`cairn rpc get-api` lists the methods"
	case jsonrpc.CodeBusy, jsonrpc.CodeNoLeader, errs.RateLimited.Surface().JSONRPC, errs.NoPath.Surface().JSONRPC,
		errs.Unavailable.Surface().JSONRPC, errs.Deadline.Surface().JSONRPC:
		f.code = exitTryAgain
	case jsonrpc.CodeInvalidParams:
		f.hint = "`cairn rpc describe <name>` shows the parameters"
	case jsonrpc.CodeUnauthorized:
		f.hint = "give a token that may do this with -token or CAIRN_TOKEN, or use the socket as root or the agent's user"
	}
	return f
}

// rpcErrorText puts an error and its details on lines of their own.
func rpcErrorText(e *jsonrpc.Error) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%d)", clean(e.Message), e.Code)
	for _, d := range e.Data {
		if d.Message == e.Message {
			continue
		}
		b.WriteString("\n  ")
		if d.Field != "" {
			b.WriteString(clean(d.Field) + ": ")
		}
		fmt.Fprintf(&b, "%s (%d)", clean(d.Message), d.Code)
	}
	return b.String()
}
