package jsonrpc

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

// bodyTimeout is how long the body of an HTTP request may take.
const bodyTimeout = 30 * time.Second

// HTTP returns the handler of POST requests that hold one message each. identify
// says who is calling. A status other than 200 and 204 is about the transport: failures of calls are 200.
func (s *Server) HTTP(identify func(*http.Request) Caller) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "use POST", http.StatusMethodNotAllowed)
			return
		}
		if !isJSON(r.Header.Get("Content-Type")) {
			w.Header().Set("Accept", "application/json")
			http.Error(w, "set Content-Type to application/json, in UTF-8", http.StatusUnsupportedMediaType)
			return
		}
		if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
			w.Header().Set("Accept-Encoding", "identity")
			http.Error(w, "send the message without Content-Encoding", http.StatusUnsupportedMediaType)
			return
		}
		if r.ContentLength > int64(s.cfg.MaxMessage) {
			writeHTTP(w, s.refuse(errMessageTooLarge))
			return
		}
		msg, err := s.readBody(w, r)
		if err != nil {
			refuseBody(w, err)
			return
		}
		writeHTTP(w, s.Handle(r.Context(), identify(r), msg))
	})
}

// isJSON accepts the media types in use for JSON-RPC, in UTF-8 only. A missing
// type is refused: a browser could send one from any page.
func isJSON(contentType string) bool {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || (media != "application/json" && media != "application/json-rpc") {
		return false
	}
	charset := params["charset"]
	return charset == "" || strings.EqualFold(charset, "utf-8")
}

// readBody reads at most one byte above the limit, which tells Handle that there was more.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	ctl := http.NewResponseController(w)
	_ = ctl.SetReadDeadline(time.Now().Add(bodyTimeout))
	msg, err := io.ReadAll(io.LimitReader(r.Body, int64(s.cfg.MaxMessage)+1))
	if err == nil && len(msg) <= s.cfg.MaxMessage {
		_ = ctl.SetReadDeadline(time.Time{}) // else it is for what the server reads of the rest
	}
	return msg, err
}

// refuseBody answers where the body could not be read, or was refused by whoever
// made the request with an error of errs.
func refuseBody(w http.ResponseWriter, err error) {
	var e *errs.Error
	if !errors.As(err, &e) {
		http.Error(w, "cannot read the request", http.StatusBadRequest)
		return
	}
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt((roundUp(e.RetryAfter)+999)/1000, 10))
	}
	http.Error(w, e.Error(), e.Code.Surface().HTTP)
}

func writeHTTP(w http.ResponseWriter, a Answer) {
	if a.Body == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(a.Body)+1))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	if a.TooLarge {
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	}
	_, _ = w.Write(append(a.Body, '\n'))
}
