package nomad

import (
	"errors"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/auth"
)

// What is missing where it is no right of a policy: a token that is known and
// valid, a proof that the call carries, and as much as the call would give away.
const (
	deniedToken = "token"
	deniedProof = "proof"
	deniedGrant = "grant"
)

const (
	// otherNamespace stands for namespaces that do not exist: callers choose those names.
	otherNamespace = "other"
	// maxDenials bounds the pairs of capability and namespace that are counted apart.
	maxDenials = 4096
)

// denials counts refused calls by what was missing. The zero value is ready. It
// is used only where a call is refused.
type denials struct {
	mu    sync.Mutex
	count map[denialKey]uint64 // under mu
}

type denialKey struct{ capability, namespace string }

func (d *denials) add(k denialKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.count == nil {
		d.count = map[denialKey]uint64{}
	}
	if _, known := d.count[k]; !known && len(d.count) >= maxDenials {
		k.namespace = otherNamespace
	}
	d.count[k]++
}

var descDenied = prometheus.NewDesc("cairn_acl_denied_total", "Calls refused here, by the missing capability and the namespace, \"other\" for one that does not exist.",
	[]string{"capability", "namespace"}, nil)

func (d *denials) collect(ch chan<- prometheus.Metric) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for k, n := range d.count {
		ch <- prometheus.MustNewConstMetric(descDenied, prometheus.CounterValue, float64(n), k.capability, k.namespace)
	}
}

// countDenial counts a refused call. ask puts the question of the call to the
// rights again, and must change nothing.
func (s *Server) countDenial(a *acl.ACL, ask func(*acl.ACL)) {
	missing := a.WhyDenied(ask)
	k := denialKey{missing.String(), missing.Namespace}
	switch {
	case missing == acl.Denial{}:
		k.capability = deniedProof
	case k.namespace != "" && k.namespace != "*" && s.state.Snapshot().Namespace(nil, k.namespace) == nil:
		k.namespace = otherNamespace
	}
	s.metrics.denied.add(k)
}

// Refused counts a call that the agent refused for want of right.
func (s *Server) Refused(rights *acl.ACL, right func(*acl.ACL) bool) {
	s.countDenial(rights, func(a *acl.ACL) { right(a) })
}

// countUnknown counts a caller that was refused because nobody knows it.
func (s *Server) countUnknown(err error) error {
	if errors.Is(err, errs.PermissionDenied) {
		s.metrics.denied.add(denialKey{deniedToken, ""})
	}
	return err
}

// refuseCall refuses a call that its rule does not allow.
func refuseCall[Req any](s *Server, m *methodInfo, id *auth.Identity, allow func(*acl.ACL, *Req) bool, args *Req) error {
	s.countDenial(id.ACL, func(a *acl.ACL) { allow(a, args) })
	return s.deny(m, id)
}

// refusedRun counts a read that was refused while it ran, and returns its error.
func refusedRun[Req, Resp any](v *view, err error, run func(*view, *Req, *Resp) error, args *Req) error {
	if !errors.Is(err, errs.PermissionDenied) {
		return err
	}
	v.srv.countDenial(v.acl, func(a *acl.ACL) {
		again := *v
		again.acl, again.ws = a, nil
		_ = run(&again, args, new(Resp))
	})
	return err
}

// refusedWrite counts a write that was refused while it ran, and returns its error.
// What runs once cannot be asked again.
func (s *Server) refusedWrite(err error) error {
	if errors.Is(err, errs.PermissionDenied) {
		capability := deniedProof
		if strings.HasPrefix(errs.From(err, "").Msg, errPermissionDenied.Msg+": ") {
			capability = deniedGrant
		}
		s.metrics.denied.add(denialKey{capability, ""})
	}
	return err
}
