package acl

import "slices"

// Denial is a right that was asked for and is not held.
type Denial struct {
	// Kind is "" for what no policy grants: to be a server, a node agent, or management.
	Kind Kind
	// Namespace is where, "" for rights without a namespace.
	Namespace string
	// Capability is one of the kind's, or "any" where any would do.
	Capability string
}

// String returns the right without its place, as "namespace:submit-job".
func (d Denial) String() string {
	if d.Kind == "" {
		return d.Capability
	}
	return string(d.Kind) + ":" + d.Capability
}

// miss notes a right that is not held, and returns false.
func (a *ACL) miss(k Kind, ns, capability string) bool {
	if a != nil && a.missed != nil {
		a.missed(Denial{k, ns, capability})
	}
	return false
}

// WhyDenied asks again what was refused, and returns the right that was missing.
// Of several that would each have done it returns the first one asked for, and
// management only where nothing less would do. The zero Denial means that no right was missing.
func (a *ACL) WhyDenied(ask func(*ACL)) Denial {
	traced := ACL{}
	if a != nil {
		traced = *a
	}
	var missed []Denial
	traced.missed = func(d Denial) { missed = append(missed, d) }
	ask(&traced)
	if i := slices.IndexFunc(missed, func(d Denial) bool { return d.Kind != "" }); i >= 0 {
		return missed[i]
	}
	if len(missed) > 0 {
		return missed[0]
	}
	return Denial{}
}
