package h1

import (
	"bytes"
	"net/http"
	"net/textproto"
	"net/url"
)

// seen is a header field of the request before, at the same place. Clients
// repeat themselves: what is equal is used again instead of copied.
type seen struct {
	// name is as it was sent, key in canonical form.
	name, key string
	value     []string
}

// fill makes the connection's request that of the parsed head. It reports false
// for a target that net/http has to judge.
func (c *conn) fill() bool {
	h, last := &c.head, c.req.RequestURI
	if last != string(h.target) {
		last = string(h.target)
	}
	if !c.setURL(last) {
		return false
	}
	host := c.req.Host
	if host != string(h.host) {
		host = string(h.host)
	}
	*c.req = c.blank
	c.req.Method, c.req.RequestURI, c.req.Host = method(h.method), last, host
	c.req.Close = h.close
	c.fillHeader()
	c.body = body{c: c, left: max(h.length, 0)}
	c.req.Body = http.NoBody
	if h.length > 0 {
		c.req.Body, c.req.ContentLength = &c.body, h.length
	}
	return true
}

// setURL parses the target as net/http does, by the same function unless
// nothing in it needs one.
func (c *conn) setURL(target string) bool {
	path, query := target, ""
	for i := range len(target) {
		if inPath[target[i]] {
			continue
		}
		if target[i] != '?' || i+1 == len(target) {
			u, err := url.ParseRequestURI(target)
			if err != nil {
				return false
			}
			c.url = *u
			return true
		}
		path, query = target[:i], target[i+1:]
		break
	}
	c.url = url.URL{Path: path, RawQuery: query}
	return true
}

func (c *conn) fillHeader() {
	header, h := c.req.Header, &c.head
	clear(header)
	for i := range h.fields {
		f := &h.fields[i]
		if i == len(c.seen) {
			c.seen = append(c.seen, seen{})
		}
		s := &c.seen[i]
		if s.name != string(f.name) {
			s.name = string(f.name)
			s.key = textproto.CanonicalMIMEHeaderKey(s.name)
		}
		if len(s.value) != 1 || s.value[0] != string(f.value) {
			s.value = []string{string(f.value)}
		}
		if more := header[s.key]; more != nil {
			header[s.key] = append(more[:len(more):len(more)], s.value[0])
		} else {
			header[s.key] = s.value[:1:1]
		}
	}
}

func method(b []byte) string {
	for _, m := range [...]string{http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodHead} {
		if string(b) == m {
			return m
		}
	}
	return string(bytes.Clone(b))
}
