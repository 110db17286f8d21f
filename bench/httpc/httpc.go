// Package httpc is a small HTTP/1.1 client (RFC 9112) for load generation. One
// connection, one request at a time, no redirects, no TLS: on a machine shared
// with the servers it costs a fraction of what net/http's client does.
package httpc

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"
)

// maxBody bounds a response, in bytes.
const maxBody = 64 << 20

// Response is the answer to one request.
type Response struct {
	Status int
	// Index is the header X-Nomad-Index, 0 when absent.
	Index uint64
	// Body is valid until the next request on the connection.
	Body []byte
}

// Client is one kept-alive connection. It is not safe for concurrent use, but
// for Interrupt.
type Client struct {
	// Timeout bounds one request, 0 for no bound.
	Timeout time.Duration

	addr string
	mu   sync.Mutex // guards changes of conn, and gone
	gone bool
	conn net.Conn // nil until the next request dials
	r    *bufio.Reader
	out  []byte
	body []byte
}

// New returns a client of addr, host:port. The first request dials.
func New(addr string, timeout time.Duration) *Client {
	return &Client{addr: addr, Timeout: timeout}
}

// Do sends one request and reads its answer. After an error the next request
// dials anew; nothing is sent twice.
func (c *Client) Do(method, target string, body []byte) (Response, error) {
	if c.conn == nil {
		conn, err := net.DialTimeout("tcp", c.addr, 5*time.Second)
		if err == nil {
			err = c.set(conn)
		}
		if err != nil {
			return Response{}, err
		}
		if c.r == nil {
			c.r = bufio.NewReaderSize(nil, 1<<10)
		}
		c.r.Reset(conn)
	}
	resp, keep, err := c.roundTrip(method, target, body)
	if err != nil || !keep {
		c.Close()
	}
	return resp, err
}

// Close closes the connection; the client may be used again.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return nil
	}
	err := c.conn.Close()
	c.conn = nil
	return err
}

// Interrupt ends the request under way and refuses all further ones.
func (c *Client) Interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	if c.conn != nil {
		c.conn.Close()
	}
}

// set takes conn into use.
func (c *Client) set(conn net.Conn) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		conn.Close()
		return net.ErrClosed
	}
	c.conn = conn
	return nil
}

func (c *Client) roundTrip(method, target string, body []byte) (resp Response, keep bool, err error) {
	if c.Timeout > 0 {
		if err := c.conn.SetDeadline(time.Now().Add(c.Timeout)); err != nil {
			return resp, false, err
		}
	}
	b := append(c.out[:0], method...)
	b = append(b, ' ')
	b = append(b, target...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, c.addr...)
	b = append(b, "\r\n"...)
	if body != nil {
		b = append(b, "Content-Type: application/json\r\nContent-Length: "...)
		b = strconv.AppendInt(b, int64(len(body)), 10)
		b = append(b, "\r\n"...)
	}
	b = append(b, "\r\n"...)
	b = append(b, body...)
	c.out = b
	if _, err := c.conn.Write(b); err != nil {
		return resp, false, err
	}
	return c.read(method)
}

// head is what the header section says about the body.
type head struct {
	length  int64 // -1 for unknown
	chunked bool
	close   bool
}

func (c *Client) read(method string) (resp Response, keep bool, err error) {
	line, err := c.line()
	if err != nil {
		return resp, false, err
	}
	if len(line) < 12 || string(line[:7]) != "HTTP/1." {
		return resp, false, fmt.Errorf("status line %q", line)
	}
	if resp.Status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return resp, false, fmt.Errorf("status line %q", line)
	}
	h := head{length: -1}
	if err := c.headers(&h, &resp); err != nil {
		return resp, false, err
	}
	c.body = c.body[:0]
	switch {
	case method == "HEAD" || resp.Status == 204 || resp.Status == 304:
	case h.chunked:
		err = c.chunks()
	case h.length >= 0:
		err = c.take(h.length)
	default:
		h.close = true
		c.body, err = io.ReadAll(io.LimitReader(c.r, maxBody))
	}
	resp.Body = c.body
	return resp, !h.close, err
}

// line returns the next line without its end, valid until the next read.
func (c *Client) line() ([]byte, error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	return bytes.TrimRight(line, "\r\n"), nil
}

func (c *Client) headers(h *head, resp *Response) error {
	for {
		line, err := c.line()
		if err != nil {
			return err
		}
		if len(line) == 0 {
			return nil
		}
		i := bytes.IndexByte(line, ':')
		if i < 0 {
			return fmt.Errorf("header line %q", line)
		}
		name, value := line[:i], bytes.TrimSpace(line[i+1:])
		switch {
		case is(name, "content-length"):
			h.length, err = strconv.ParseInt(string(value), 10, 64)
		case is(name, "x-nomad-index"):
			resp.Index, err = strconv.ParseUint(string(value), 10, 64)
		case is(name, "transfer-encoding"):
			h.chunked = is(value, "chunked")
		case is(name, "connection"):
			h.close = is(value, "close")
		}
		if err != nil {
			return fmt.Errorf("header line %q", line)
		}
	}
}

func is(b []byte, lower string) bool {
	return len(b) == len(lower) && bytes.EqualFold(b, []byte(lower))
}

// take reads n bytes into the body.
func (c *Client) take(n int64) error {
	if n < 0 || n+int64(len(c.body)) > maxBody {
		return fmt.Errorf("body of %d bytes", n)
	}
	start := len(c.body)
	need := start + int(n)
	if cap(c.body) < need {
		c.body = append(make([]byte, 0, need*2), c.body...)
	}
	c.body = c.body[:need]
	_, err := io.ReadFull(c.r, c.body[start:])
	return err
}

func (c *Client) chunks() error {
	for {
		line, err := c.line()
		if err != nil {
			return err
		}
		size, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseInt(string(bytes.TrimSpace(size)), 16, 64)
		if err != nil {
			return fmt.Errorf("chunk size %q", line)
		}
		if err := c.take(n); err != nil {
			return err
		}
		for { // the line end after a chunk, or the trailers after the last
			line, err := c.line()
			if err != nil {
				return err
			}
			if len(line) == 0 {
				break
			}
			if n > 0 {
				return fmt.Errorf("after a chunk: %q", line)
			}
		}
		if n == 0 {
			return nil
		}
	}
}
