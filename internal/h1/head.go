package h1

import "bytes"

const (
	// maxFields is how many header fields an ordinary request has at most.
	maxFields = 48
	// maxMethod is how long the method of an ordinary request is at most.
	maxMethod = 16
	// maxDigits is how many digits of a Content-Length always fit an int64.
	maxDigits = 18
)

// verdict is what head.parse found.
type verdict int

const (
	// partial says that the bytes are the beginning of an ordinary head.
	partial verdict = iota
	// whole says that an ordinary head is complete.
	whole
	// odd says that net/http has to look.
	odd
)

// field is one header field; both alias the buffer.
type field struct{ name, value []byte }

// head is a parsed request head. Its slices alias the buffer it was read from.
type head struct {
	method, target []byte
	// host is the value of Host, which is not among the fields.
	host   []byte
	fields []field
	// length is the Content-Length, -1 for none.
	length int64
	// connection says that a Connection field was there, close what it asked for.
	connection, close bool
	// size is the head's length with the empty line.
	size int
}

// parse reads a request head from the start of b: a strict subset of RFC 9112.
// Whoever reads the same bytes by any reading of that document finds the same
// request in them; all else is odd.
func (h *head) parse(b []byte) verdict {
	*h = head{fields: h.fields[:0], length: -1}
	line, size, v := cutLine(b)
	if v != whole {
		return soFar(v, line, &inTarget)
	}
	if !h.requestLine(line) {
		return odd
	}
	for {
		h.size += size
		line, size, v = cutLine(b[h.size:])
		switch {
		case v != whole:
			return soFar(v, line, &inValue)
		case len(line) == 0:
			h.size += size
			return h.complete()
		case !h.field(line):
			return odd
		}
	}
}

// cutLine returns the first line of b without its end, and its length with it.
// Without an end it returns what is there.
func cutLine(b []byte) (line []byte, size int, v verdict) {
	end := bytes.IndexByte(b, '\n')
	switch {
	case end < 0:
		return bytes.TrimSuffix(b, []byte{'\r'}), len(b), partial
	case end == 0 || b[end-1] != '\r':
		return nil, 0, odd
	}
	return b[:end-1], end + 1, whole
}

// soFar decides about a line that has not ended: nothing in it may be odd yet.
func soFar(v verdict, line []byte, class *[256]bool) verdict {
	if v == partial {
		for _, c := range line {
			if !class[c] && c != ' ' {
				return odd
			}
		}
	}
	return v
}

// requestLine reads "METHOD /target HTTP/1.1".
func (h *head) requestLine(line []byte) bool {
	method, rest, _ := bytes.Cut(line, []byte{' '})
	if len(method) == 0 || len(method) > maxMethod {
		return false
	}
	for _, c := range method {
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	target, ok := bytes.CutSuffix(rest, []byte(" HTTP/1.1"))
	if !ok || len(target) == 0 || target[0] != '/' || string(method) == "CONNECT" {
		return false
	}
	h.method, h.target = method, target
	return plain(target)
}

// plain says whether a target has only visible characters, and in its path only
// escapes that are some.
func plain(target []byte) bool {
	path := true
	for i, c := range target {
		switch {
		case !inTarget[c]:
			return false
		case c == '?':
			path = false
		case c == '%' && path && (i+2 >= len(target) || !inHex[target[i+1]] || !inHex[target[i+2]]):
			return false
		}
	}
	return true
}

// field reads one header field.
func (h *head) field(line []byte) bool {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		return false
	}
	name, value := line[:colon], bytes.Trim(line[colon+1:], " \t")
	for _, c := range name {
		if !inName[c] {
			return false
		}
	}
	for _, c := range value {
		if !inValue[c] {
			return false
		}
	}
	return h.add(name, value)
}

// add takes a field in, unless it changes how the message is read.
func (h *head) add(name, value []byte) bool {
	switch len(name) {
	case 4:
		if isName(name, "host") {
			return h.setHost(value)
		}
	case 6:
		if isName(name, "expect") || isName(name, "pragma") {
			return false
		}
	case 7:
		if isName(name, "upgrade") || isName(name, "trailer") {
			return false
		}
	case 10:
		if isName(name, "connection") && !h.setConnection(value) {
			return false
		}
	case 14:
		if isName(name, "content-length") && !h.setLength(value) {
			return false
		}
	case 17:
		if isName(name, "transfer-encoding") {
			return false
		}
	}
	if len(h.fields) == maxFields {
		return false
	}
	h.fields = append(h.fields, field{name, value})
	return true
}

func (h *head) setHost(value []byte) bool {
	if h.host != nil || len(value) == 0 {
		return false
	}
	for _, c := range value {
		if !inHost[c] {
			return false
		}
	}
	h.host = value
	return true
}

func (h *head) setConnection(value []byte) bool {
	if h.connection {
		return false
	}
	h.connection = true
	h.close = isName(value, "close")
	return h.close || isName(value, "keep-alive")
}

func (h *head) setLength(value []byte) bool {
	if h.length >= 0 || len(value) == 0 || len(value) > maxDigits {
		return false
	}
	h.length = 0
	for _, c := range value {
		if c < '0' || c > '9' {
			return false
		}
		h.length = h.length*10 + int64(c-'0')
	}
	return true
}

// complete checks what a head must have.
func (h *head) complete() verdict {
	if h.host == nil {
		return odd
	}
	return whole
}

// isName compares with a name in lower case, ignoring the case of ASCII letters.
func isName(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

const alphanumeric = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// Classes of bytes.
var (
	// inName is tchar of RFC 9110, section 5.6.2.
	inName = class(alphanumeric + "!#$%&'*+-.^_`|~")
	// inHost is what occurs in host names, addresses and ports.
	inHost = class(alphanumeric + ".-_:[]")
	// inPath is what a path holds as it is, in the request as in url.URL.
	inPath = class(alphanumeric + "-._~/$&+,:;=@")
	inHex  = class("0123456789abcdefABCDEF")
	// inTarget is every visible ASCII character.
	inTarget = span('!', '~')
	// inValue is field-content of RFC 9110, section 5.5, and the tab.
	inValue = values()
)

func class(chars string) (t [256]bool) {
	for i := range len(chars) {
		t[chars[i]] = true
	}
	return t
}

func span(from, to int) (t [256]bool) {
	for c := from; c <= to; c++ {
		t[c] = true
	}
	return t
}

func values() [256]bool {
	t := span(' ', 0xff)
	t['\t'], t[0x7f] = true, false
	return t
}
