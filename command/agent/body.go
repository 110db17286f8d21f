package agent

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/limit"
)

const (
	// smallBody is the length in bytes up to which a body has one deadline and takes
	// its share of the budget at once.
	smallBody = 64 << 10
	// bodyPace is how many bytes of a larger one buy another second.
	bodyPace = 64 << 10
)

// readBody reads the body into buf, as far as there is room for it.
func (r *request) readBody(buf *bytes.Buffer) error {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	most, length := r.api.maxBody, r.ContentLength
	if length > most {
		return errTooLarge(most)
	}
	var err error
	rc := http.NewResponseController(r.w)
	if length >= 0 && length <= smallBody {
		if err = r.hold(int(length)); err == nil {
			_, err = buf.ReadFrom(r.Body)
		}
	} else {
		_, err = buf.ReadFrom(&incoming{request: r, deadlines: rc, from: http.MaxBytesReader(r.w, r.Body, most), began: time.Now()})
	}
	if err == nil {
		_ = rc.SetReadDeadline(time.Time{})
	}
	return bodyProblem(err, most)
}

// limitBody sets the deadline of the body. It stays where the body is not read to its
// end: the server reads some more of it then.
func (r *request) limitBody() {
	_ = http.NewResponseController(r.w).SetReadDeadline(time.Now().Add(r.api.config.Limits.HTTPBodyTimeout)) // of writers in tests only some can
}

// hold takes n bytes of the budget for the request, until it is answered.
func (r *request) hold(n int) error {
	if r.held.Grow(n) {
		return nil
	}
	return r.held.Of.Err()
}

// incoming is a large body, or one of unknown length. It may take the longer the more
// of it has come, and takes of the budget what has come.
type incoming struct {
	*request
	deadlines *http.ResponseController
	from      io.Reader
	began     time.Time
	got       int
	// paid is how much of got has bought time, in bytes.
	paid int
}

// Read reads the body.
func (b *incoming) Read(p []byte) (int, error) {
	n, err := b.from.Read(p)
	if b.got += n; b.got-b.paid >= bodyPace {
		b.paid = b.got
		more := time.Duration(b.got/bodyPace) * time.Second
		_ = b.deadlines.SetReadDeadline(b.began.Add(b.api.config.Limits.HTTPBodyTimeout + more)) // as the first one
	}
	if full := b.hold(n); full != nil {
		return 0, full
	}
	return n, err
}

// heldBody is a body that others read. It takes of the budget what has come.
type heldBody struct {
	io.ReadCloser
	request *request
}

// Read reads the body.
func (b *heldBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if full := b.request.hold(n); full != nil {
		return 0, full
	}
	return n, err
}

// bodyProblem says what was wrong with a body, nil for nothing.
func bodyProblem(err error, most int64) error {
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil, errors.Is(err, errs.Busy):
		return err
	case errors.As(err, &tooLarge):
		return errTooLarge(most)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errs.New(errs.Invalid, "request body ends early")
	}
	return errs.Wrap(errs.Invalid, "could not read the request body in time", err)
}

func errTooLarge(limit int64) error {
	return errs.Newf(errs.TooLarge, "request body is larger than the limit of %d bytes", limit)
}

// heldMetrics shows what requests hold.
type heldMetrics struct{ held *limit.Bytes }

var (
	descHeld        = prometheus.NewDesc("cairn_request_bytes", "Bytes that the requests hold that are being read or answered, on all ports.", nil, nil)
	descHeldRefused = prometheus.NewDesc("cairn_request_bytes_refused_total", "Requests refused because those in hand filled limits.max_request_bytes.", nil, nil)
)

// Describe sends the descriptions of the metrics; part of prometheus.Collector.
func (m heldMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- descHeld
	ch <- descHeldRefused
}

// Collect sends the values of the metrics; part of prometheus.Collector.
func (m heldMetrics) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(descHeld, prometheus.GaugeValue, float64(m.held.Used()))
	ch <- prometheus.MustNewConstMetric(descHeldRefused, prometheus.CounterValue, float64(m.held.Refused()))
}
