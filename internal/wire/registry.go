package wire

import (
	"context"
	"fmt"
	"reflect"
	"slices"
)

// Method is one method of a registered endpoint.
type Method struct {
	// Name is "Service.Method".
	Name string
	// NewArgs and NewReply return a pointer to a new zero value.
	NewArgs  func() any
	NewReply func() any
	// Invoke calls the method; args and reply have the types of NewArgs and NewReply.
	Invoke func(ctx context.Context, args, reply any) error
}

// Registry maps method names to the methods of endpoints. It is filled before it
// is read: Register must not run beside the other methods.
type Registry struct {
	methods map[string]Method
}

// NewRegistry returns an empty registry.
func NewRegistry() *Registry { return &Registry{methods: make(map[string]Method)} }

// Register adds every exported method of endpoint of the shape
// func(context.Context, *Args, *Reply) error as name.Method. Methods of another
// shape that take a context first are an error, since they were surely meant to
// be called; the rest is left alone.
func (r *Registry) Register(name string, endpoint any) error {
	v := reflect.ValueOf(endpoint)
	if name == "" || !v.IsValid() {
		return fmt.Errorf("register %q: needs a name and an endpoint", name)
	}
	found := make(map[string]Method)
	for i := range v.NumMethod() {
		method := v.Type().Method(i).Name
		full := name + "." + method
		t := v.Method(i).Type()
		if !fits(t) {
			if nearly(t) {
				return fmt.Errorf("register %s: want func(context.Context, *Args, *Reply) error, found %s", full, t)
			}
			continue
		}
		if _, taken := r.methods[full]; taken {
			return fmt.Errorf("register %s: the name is taken", full)
		}
		found[full] = newMethod(full, v.Method(i))
	}
	if len(found) == 0 {
		return fmt.Errorf("register %s: %T has no method func(context.Context, *Args, *Reply) error", name, endpoint)
	}
	for full, m := range found {
		r.methods[full] = m
	}
	return nil
}

var (
	contextType = reflect.TypeFor[context.Context]()
	errorType   = reflect.TypeFor[error]()
)

func fits(t reflect.Type) bool {
	return t.NumIn() == 3 && !t.IsVariadic() && t.NumOut() == 1 && t.In(0) == contextType &&
		t.In(1).Kind() == reflect.Pointer && t.In(2).Kind() == reflect.Pointer && t.Out(0) == errorType
}

// nearly reports whether a method that does not fit was meant to.
func nearly(t reflect.Type) bool {
	if t.NumIn() > 0 && t.In(0) == contextType {
		return true
	}
	return t.NumIn() >= 2 && t.NumOut() == 1 && t.Out(0) == errorType &&
		t.In(t.NumIn()-2).Kind() == reflect.Pointer && t.In(t.NumIn()-1).Kind() == reflect.Pointer
}

func newMethod(name string, fn reflect.Value) Method {
	args, reply := fn.Type().In(1).Elem(), fn.Type().In(2).Elem()
	return Method{
		Name:     name,
		NewArgs:  func() any { return reflect.New(args).Interface() },
		NewReply: func() any { return reflect.New(reply).Interface() },
		Invoke: func(ctx context.Context, args, reply any) error {
			out := fn.Call([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(args), reflect.ValueOf(reply)})
			err, _ := out[0].Interface().(error)
			return err
		},
	}
}

// Names returns the names of all methods, sorted.
func (r *Registry) Names() []string {
	names := make([]string, 0, len(r.methods))
	for name := range r.methods {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Lookup returns the method called "Service.Method".
func (r *Registry) Lookup(method string) (Method, bool) {
	m, ok := r.methods[method]
	return m, ok
}
