package agent

import (
	"net/url"
	"strings"
)

// query is the parameters of a URL. There are few of them, so that a search
// beats a map.
type query []queryParam

type queryParam struct{ name, value string }

// maxPlainParams is how many parameters parseQuery takes apart itself.
const maxPlainParams = 16

// parseQuery reads what url.ParseQuery reads, and fails where that does.
func parseQuery(raw string) (query, error) {
	n := strings.Count(raw, "&") + 1
	if n > maxPlainParams || strings.ContainsAny(raw, "%+;") {
		return parseAnyQuery(raw)
	}
	q := make(query, 0, n)
	for part := range strings.SplitSeq(raw, "&") {
		if part != "" {
			name, value, _ := strings.Cut(part, "=")
			q = append(q, queryParam{name, value})
		}
	}
	return q, nil
}

func parseAnyQuery(raw string) (query, error) {
	all, err := url.ParseQuery(raw)
	if err != nil {
		return nil, err
	}
	q := make(query, 0, len(all))
	for name, values := range all {
		for _, v := range values {
			q = append(q, queryParam{name, v})
		}
	}
	return q, nil
}

// Has reports whether a parameter is present, with or without a value.
func (q query) Has(name string) bool {
	for i := range q {
		if q[i].name == name {
			return true
		}
	}
	return false
}

// Get returns the first value of a parameter, "" for none.
func (q query) Get(name string) string {
	for i := range q {
		if q[i].name == name {
			return q[i].value
		}
	}
	return ""
}

// all returns the values of a parameter in their order.
func (q query) all(name string) []string {
	var out []string
	for i := range q {
		if q[i].name == name {
			out = append(out, q[i].value)
		}
	}
	return out
}
