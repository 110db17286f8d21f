package agent

import (
	"cmp"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/cairn-project/cairn/nomad/structs"
)

// doc is what a row of the route table says about itself.
type doc struct {
	// methods lists the HTTP methods, separated by spaces.
	methods string
	// pattern is the path. A segment in braces matches one: {name}, which fixed
	// ones may follow, or as the last any number: {name...}.
	pattern string
	// rpc lists the methods called, separated by spaces, "" for none.
	rpc string
	// summary is one line of documentation.
	summary string
	// params are the query parameters of this route alone.
	params []param
	// lists names those of listParams that the route takes, separated by spaces.
	lists string
	// body is the type of the request body, nil for none.
	body reflect.Type
	// bodyMedia is the content type of a body that is no JSON, "" for none.
	bodyMedia string
	// optionalBody lets a caller leave the body out.
	optionalBody bool
	// media is the content type of the reply, "" for JSON.
	media string
	// failure is what errors may be as JSON instead of text, nil for nothing.
	failure reflect.Type
	// status lists further statuses: those beside 200 and the common errors.
	status []int
	// region marks routes that take the region parameter though they are no
	// reads or writes of the store.
	region bool
}

// param is a query parameter.
type param struct {
	name, summary string
	// kind is the JSON schema type.
	kind string
	// repeat marks a parameter that may be given several times.
	repeat bool
}

// kind tells which common parameters and headers a route has.
type kind int

const (
	readKind kind = iota
	writeKind
	localKind
)

// route is one row of the table.
type route struct {
	doc
	kind   kind
	result reflect.Type
	serve  func(*request) error
	// charge names the RPC that a request is charged as, nil for the first of rpc.
	charge func(*request) string
	// first is the first of rpc; newRouter sets it.
	first string
}

// charged returns the RPC that a request is charged as, "" for none.
func (rt *route) charged(r *request) string {
	if rt.charge != nil {
		return rt.charge(r)
	}
	return rt.first
}

// nothing is the result of routes that answer with an empty body.
type nothing struct{}

// read declares a route that reads the store through one RPC. bind moves path
// and query into the request, beyond the common parameters; result takes the answer out of the reply.
func read[Q, P, T any, PQ interface {
	*Q
	structs.Query
}, PP interface {
	*P
	structs.QueryReply
}](d doc, bind func(*request, *Q) error, result func(*request, *P) (T, error)) route {
	return route{doc: d, kind: readKind, result: reflect.TypeFor[T](), serve: func(r *request) error {
		args, reply := PQ(new(Q)), PP(new(P))
		if err := r.readOptions(args.QueryOpts()); err != nil {
			return err
		}
		if err := bind(r, args); err != nil {
			return err
		}
		if err := r.api.server.RPC(r.Context(), d.rpc, args, reply); err != nil {
			return err
		}
		r.setQueryMeta(reply.Meta())
		out, err := result(r, reply)
		if err != nil {
			return err
		}
		return r.writeJSON(http.StatusOK, out)
	}}
}

// write declares a route that changes the store through one RPC.
func write[Q, P, T any, PQ interface {
	*Q
	structs.Write
}, PP interface {
	*P
	structs.WriteReply
}](d doc, bind func(*request, *Q) error, result func(*request, *P) (T, error)) route {
	return route{doc: d, kind: writeKind, result: reflect.TypeFor[T](), serve: func(r *request) error {
		args, reply := PQ(new(Q)), PP(new(P))
		r.writeOptions(args.WriteOpts())
		if err := bind(r, args); err != nil {
			return err
		}
		if err := r.api.server.RPC(r.Context(), d.rpc, args, reply); err != nil {
			return err
		}
		r.setIndex(reply.WriteMetaData().Index)
		out, err := result(r, reply)
		if err != nil {
			return err
		}
		return r.writeJSON(http.StatusOK, out)
	}}
}

// plain declares a route that reads through one RPC whose reply says nothing
// about indexes.
func plain[P any](d doc) route {
	d.region = true
	d.params = append(d.params, staleParam)
	return route{doc: d, kind: localKind, result: reflect.TypeFor[P](), serve: func(r *request) error {
		args, reply := &structs.GenericRequest{}, new(P)
		if err := r.readOptions(&args.QueryOptions); err != nil {
			return err
		}
		if err := r.api.server.RPC(r.Context(), d.rpc, args, reply); err != nil {
			return err
		}
		return r.writeJSON(http.StatusOK, reply)
	}}
}

// local declares a route with a handler of its own whose result is a T.
func local[T any](d doc, serve func(*request) error) route {
	return route{doc: d, kind: localKind, result: reflect.TypeFor[T](), serve: serve}
}

// asIs is the bind function of routes that take only the common parameters.
func asIs[Q any](*request, *Q) error { return nil }

// done is the result function of writes that answer with an empty body.
func done[P any](*request, *P) (nothing, error) { return nothing{}, nil }

// list never returns a nil slice, so that an empty list shows as [].
func list[E any](in []E) []E {
	if in == nil {
		return []E{}
	}
	return in
}

// endpoint is all routes of one pattern.
type endpoint struct {
	// get, put, post and del are the handlers by method, nil for none.
	get, put, post, del *route
	// wrongMethod answers any other method.
	wrongMethod error
	// cors lists the methods that browsers may use from other origins, "" for none.
	cors string
	// deep lets the rest of the path contain slashes.
	deep bool
}

// method returns the route for an HTTP method, nil if there is none. HEAD is
// GET whose body net/http drops: load balancers probe with it.
func (e *endpoint) method(name string) *route {
	switch name {
	case http.MethodGet, http.MethodHead:
		return e.get
	case http.MethodPut:
		return e.put
	case http.MethodPost:
		return e.post
	case http.MethodDelete:
		return e.del
	}
	return nil
}

// allowed lists the methods that the endpoint has, as the header Allow does.
func (e *endpoint) allowed() string {
	var out []string
	for _, name := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete} {
		if e.method(name) != nil {
			out = append(out, name)
		}
	}
	return strings.Join(out, ", ")
}

// router finds the endpoint of a path. It is immutable.
type router struct {
	exact  map[string]*endpoint
	prefix []prefixEndpoint
}

// prefixEndpoint is the endpoint of the paths that begin with prefix and end with
// suffix, "" where the variable segment is the last.
type prefixEndpoint struct {
	prefix, suffix string
	*endpoint
}

// newRouter builds a router from the table.
func newRouter(table []route) *router {
	rt := &router{exact: map[string]*endpoint{}}
	prefixes := map[[2]string]*endpoint{}
	for i := range table {
		table[i].first, _, _ = strings.Cut(table[i].rpc, " ")
		base, name, variable := strings.Cut(table[i].pattern, "{")
		name, suffix, _ := strings.Cut(name, "}")
		at := [2]string{base, suffix}
		e := prefixes[at]
		if !variable {
			e = rt.exact[base]
		}
		if e == nil {
			e = &endpoint{wrongMethod: wrongMethod(table[i].pattern), cors: corsMethods[table[i].pattern],
				deep: strings.HasSuffix(name, "...")}
			if variable {
				prefixes[at] = e
			} else {
				rt.exact[base] = e
			}
		}
		e.add(&table[i])
	}
	for at, e := range prefixes {
		rt.prefix = append(rt.prefix, prefixEndpoint{at[0], at[1], e})
	}
	slices.SortFunc(rt.prefix, func(a, b prefixEndpoint) int {
		return cmp.Or(len(b.prefix)-len(a.prefix), len(b.suffix)-len(a.suffix))
	})
	return rt
}

func (e *endpoint) add(r *route) {
	for _, m := range strings.Fields(r.methods) {
		switch m {
		case http.MethodGet:
			e.get = r
		case http.MethodPut:
			e.put = r
		case http.MethodPost:
			e.post = r
		case http.MethodDelete:
			e.del = r
		}
	}
}

// named returns the endpoint of a fixed path, such as /v1/acl/policy/self, that
// stands where other patterns have a variable segment; nil for none. Nothing
// stands where a pattern takes any number of segments.
func (rt *router) named(path string, deep bool) *endpoint {
	if deep {
		return nil
	}
	return rt.exact[path]
}

// find returns the endpoint of path and what its variable segment matched.
func (rt *router) find(path string) (*endpoint, string) {
	for i := range rt.prefix {
		p := &rt.prefix[i]
		if !strings.HasPrefix(path, p.prefix) {
			continue
		}
		if e := rt.named(path, p.deep); e != nil {
			return e, ""
		}
		rest, ok := strings.CutSuffix(path[len(p.prefix):], p.suffix)
		if ok && (p.deep || strings.IndexByte(rest, '/') < 0) {
			return p.endpoint, rest
		}
	}
	return rt.exact[path], ""
}
