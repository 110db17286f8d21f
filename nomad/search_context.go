package nomad

import (
	"maps"
	"slices"
	"strings"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// silentContexts are those of the public API whose objects this cluster does not have,
// with the right to search them. They can be searched and never have a match.
var silentContexts = map[structs.SearchContext]func(a *acl.ACL, namespace string) bool{
	"allocs": readsJobs, "deployment": readsJobs, "evals": readsJobs, "jobs": readsJobs,
	"plugins": func(a *acl.ACL, _ string) bool { return a.AllowPluginList() },
	"volumes": func(a *acl.ACL, namespace string) bool {
		return a.AllowNsOp(namespace, acl.CSIListVolume, acl.CSIReadVolume, acl.CSIMountVolume, acl.ReadJob)
	},
	"host_volumes": func(a *acl.ACL, namespace string) bool {
		return a.AllowNamespaceOperation(namespace, acl.HostVolumeRead)
	},
	"scaling_policy": func(a *acl.ACL, namespace string) bool {
		return a.AllowNsOp(namespace, acl.ListScalingPolicies, acl.ReadScalingPolicy)
	},
	"quotas":          func(a *acl.ACL, _ string) bool { return a.AllowQuotaRead() },
	"recommendations": readsJobs,
}

// knownContexts returns everything that can be searched, in order, without "all".
func knownContexts() []structs.SearchContext {
	return slices.Sorted(slices.Values(slices.Concat(state.SearchContexts(), slices.Collect(maps.Keys(silentContexts)))))
}

// mayContext reports whether the caller could ever see an object of a context, as whoever
// could not is refused by the list of the objects too.
func mayContext(a *acl.ACL, c structs.SearchContext, namespace string) (may, known bool) {
	if silent := silentContexts[c]; silent != nil {
		return silent(a, namespace), true
	}
	return state.MaySearch(a, c, namespace)
}

// maySearch is the rule of searches: the right to the context, of all contexts to one.
// What does not exist is refused with another error.
func maySearch(a *acl.ACL, c structs.SearchContext, namespace string) bool {
	if c != "" && c != structs.SearchAll {
		may, known := mayContext(a, c, namespace)
		return may || !known
	}
	return len(allowedContexts(a, namespace)) > 0
}

func allowedContexts(a *acl.ACL, namespace string) []structs.SearchContext {
	return slices.DeleteFunc(knownContexts(), func(c structs.SearchContext) bool {
		may, _ := mayContext(a, c, namespace)
		return !may
	})
}

// searchContexts returns the contexts that a request searches.
func searchContexts(a *acl.ACL, c structs.SearchContext, namespace string) ([]structs.SearchContext, error) {
	if c == "" || c == structs.SearchAll {
		return allowedContexts(a, namespace), nil
	}
	if _, known := mayContext(a, c, namespace); known {
		return []structs.SearchContext{c}, nil
	}
	var names []string
	for _, k := range knownContexts() {
		names = append(names, string(k))
	}
	return nil, errs.Newf(errs.Invalid, "unknown search context %q: the contexts are %s and %s", c, strings.Join(names, ", "), structs.SearchAll)
}
