package router

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/serf/serf"
)

// AllRegions asks MeetsMinimumVersion about every region.
const AllRegions = ""

// MeetsMinimumVersion reports whether every server of region runs at least
// version min, as "1.2.3"; a release candidate counts as its release. Servers
// that left do not count, nor, with ignoreFailed, failed ones. No server and a
// version that cannot be read mean false.
func (r *Router) MeetsMinimumVersion(region, min string, ignoreFailed bool) bool {
	want, ok := parseVersion(min)
	if !ok {
		return false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	seen := false
	for name, servers := range r.regions {
		if region != AllRegions && region != name {
			continue
		}
		for _, s := range servers {
			if !counts(s.Status, ignoreFailed) {
				continue
			}
			seen = true
			have, ok := parseVersion(s.Build)
			if !ok || slices.CompareFunc(have[:], want[:], cmp.Compare[int]) < 0 {
				return false
			}
		}
	}
	return seen
}

func counts(s serf.MemberStatus, ignoreFailed bool) bool {
	return s == serf.StatusAlive || (s == serf.StatusFailed && !ignoreFailed)
}

// parseVersion reads up to three numbers, with a "v" before and a pre-release
// or build behind allowed.
func parseVersion(s string) (v [3]int, ok bool) {
	s = strings.TrimPrefix(strings.TrimSpace(s), "v")
	if i := strings.IndexAny(s, "-+"); i >= 0 {
		s = s[:i]
	}
	parts := strings.Split(s, ".")
	if len(parts) > len(v) {
		return v, false
	}
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 32)
		if err != nil || n > math.MaxInt32 {
			return [3]int{}, false
		}
		v[i] = int(n)
	}
	return v, true
}
