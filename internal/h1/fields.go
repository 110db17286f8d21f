package h1

import (
	"net/http"
	"strconv"
	"strings"
)

// ownFields says which header fields a handler has set that this package would
// set otherwise.
type ownFields struct {
	date, length, contentType, encoding bool
	// connection holds the values of Connection.
	connection []string
}

// takeHeader appends the handler's fields to the head, apart from those that
// are only known when the body is.
func (w *response) takeHeader() {
	for name, values := range w.header {
		switch name {
		case "Content-Length":
			w.declare(values)
			continue
		case "Connection":
			w.own.connection = values
			continue
		case "Transfer-Encoding":
			continue // framing is ours
		case "Content-Type":
			w.own.contentType = true
			if w.status == http.StatusNotModified {
				continue
			}
		case "Content-Encoding":
			w.own.encoding = len(values) > 0 && values[0] != ""
		case "Date":
			w.own.date = true
		}
		w.out = appendField(w.out, name, values)
	}
}

// declare takes a Content-Length over.
func (w *response) declare(values []string) {
	w.own.length = true
	if len(values) == 0 || values[0] == "" {
		return
	}
	n, err := strconv.ParseInt(values[0], 10, 64)
	if err != nil || n < 0 {
		w.c.srv.logf("http: invalid Content-Length of %q", values[0])
		return
	}
	w.length = n
}

// commit completes the head. done says that pending is the whole body; sniff is
// how the body begins.
func (w *response) commit(done bool, sniff []byte) {
	w.committed = true
	body := hasBody(w.status)
	isHead := w.c.req.Method == http.MethodHead
	if done && body && !w.own.length && (!isHead || len(w.pending) > 0) {
		w.length = int64(len(w.pending))
	}
	w.closing = w.c.req.Close || w.c.srv.closing.Load() || len(w.own.connection) > 0 && isName([]byte(w.own.connection[0]), "close")
	if !w.closing && !w.duplex && w.c.body.left > 0 {
		w.closing = !w.c.body.drain()
	}
	if body && !w.own.contentType && !w.own.encoding && len(sniff) > 0 {
		w.out = appendLine(w.out, "Content-Type", http.DetectContentType(sniff))
	}
	if !w.own.date {
		w.out = appendLine(w.out, "Date", *w.c.srv.clock.date.Load())
	}
	switch {
	case !body:
	case w.length >= 0:
		w.out = strconv.AppendInt(append(w.out, "Content-Length: "...), w.length, 10)
		w.out = append(w.out, "\r\n"...)
	case !isHead:
		w.chunked = true
		w.out = append(w.out, "Transfer-Encoding: chunked\r\n"...)
	}
	if w.closing {
		w.out = append(w.out, "Connection: close\r\n"...)
	} else if w.own.connection != nil {
		w.out = appendField(w.out, "Connection", w.own.connection)
	}
	w.out = append(w.out, "\r\n"...)
}

// headOnly says that the answer ends with its head.
func (w *response) headOnly() bool {
	return w.c.req.Method == http.MethodHead || !hasBody(w.status)
}

// hasBody says whether an answer with the status can have a body (RFC 9110,
// section 6.4.1).
func hasBody(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

func appendStatus(b []byte, status int) []byte {
	if status == http.StatusOK {
		return append(b, "HTTP/1.1 200 OK\r\n"...)
	}
	b = strconv.AppendInt(append(b, "HTTP/1.1 "...), int64(status), 10)
	text := http.StatusText(status)
	if text == "" {
		text = "status code " + strconv.Itoa(status)
	}
	return append(append(append(b, ' '), text...), "\r\n"...)
}

// appendField appends a field for each value. A name that is no token is left out.
func appendField(b []byte, name string, values []string) []byte {
	for i := range len(name) {
		if !inName[name[i]] {
			return b
		}
	}
	if name == "" {
		return b
	}
	for _, v := range values {
		b = appendLine(b, name, v)
	}
	return b
}

var oneLine = strings.NewReplacer("\r", " ", "\n", " ")

// appendLine appends a field; the value stays on its line.
func appendLine(b []byte, name, value string) []byte {
	if strings.IndexByte(value, '\n') >= 0 || strings.IndexByte(value, '\r') >= 0 {
		value = oneLine.Replace(value)
	}
	b = append(append(append(b, name...), ": "...), strings.Trim(value, " \t")...)
	return append(b, "\r\n"...)
}
