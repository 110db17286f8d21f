package agent

import (
	"cmp"
	"encoding"
	"encoding/json"
	"net"
	"reflect"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cairn-project/cairn/nomad/structs"
)

// schemas collects JSON schemas (draft 2020-12) of Go types.
type schemas struct {
	// components holds named struct types by name, owners which type has a name.
	components object
	owners     map[string]reflect.Type
	// place is the path of components in the document, "" for that of OpenAPI.
	place string
	// lenient takes types that write their own JSON in an unknown way as anything.
	lenient bool
}

// customSchemas are those of types that write their own JSON.
var customSchemas = map[reflect.Type]object{
	reflect.TypeFor[json.RawMessage](): {"description": "any JSON"},
	reflect.TypeFor[net.IP]():          {"type": "string"},
	reflect.TypeFor[time.Time]():       {"type": "string", "format": "date-time"},
	reflect.TypeFor[time.Duration](): {"type": "integer", "format": "int64",
		"description": "nanoseconds"},
	reflect.TypeFor[structs.VariableLock](): {"type": "object", "properties": object{
		"ID":        object{"type": "string"},
		"TTL":       object{"type": "string", "description": "duration such as 15s"},
		"LockDelay": object{"type": "string", "description": "duration such as 15s"},
	}},
	reflect.TypeFor[rpcMessage](): rpcSchema(false),
	reflect.TypeFor[rpcAnswer]():  rpcSchema(true),
	reflect.TypeFor[jose.JSONWebKeySet](): {"type": "object", "required": []any{"keys"}, "properties": object{
		"keys": object{"type": "array", "items": object{"type": "object", "required": []any{"kty", "kid"}, "properties": object{
			"kty": object{"type": "string"}, "kid": object{"type": "string"},
			"alg": object{"type": "string"}, "use": object{"type": "string"},
		}}},
	}},
}

// durationTexts are the fields, by their type, that show a duration as text.
var durationTexts = map[reflect.Type][]string{
	reflect.TypeFor[structs.ACLToken]():            {"ExpirationTTL"},
	reflect.TypeFor[structs.ACLTokenInfo]():        {"ExpirationTTL"},
	reflect.TypeFor[structs.ACLAuthMethod]():       {"MaxTokenTTL"},
	reflect.TypeFor[structs.AutopilotConfig]():     {"ServerStabilizationTime", "LastContactThreshold"},
	reflect.TypeFor[structs.ServerHealth]():        {"LastContact"},
	reflect.TypeFor[structs.NodePool]():            {"NodeIdentityTTL"},
	reflect.TypeFor[structs.ACLAuthMethodConfig](): {"ExpirationLeeway", "NotBeforeLeeway", "ClockSkewLeeway"},
}

// conflictType is the type of the body of a 409.
func (r *route) conflictType() reflect.Type { return reflect.TypeFor[*structs.VariableDecrypted]() }

// of returns the schema of t, a reference for named structs.
func (s *schemas) of(t reflect.Type) object {
	if c, ok := customSchemas[t]; ok {
		return c
	}
	if _, ok := durationTexts[t]; !ok && writesOwnJSON(t) {
		if s.lenient {
			return object{}
		}
		panic("openapi schema: " + t.String() + " writes its own JSON and has no entry in customSchemas")
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Struct:
		return s.ofStruct(t)
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string", "contentEncoding": "base64"}
		}
		return object{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.nullable(t.Elem())}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.Interface:
		return object{}
	}
	return object{"type": "integer"}
}

// writesOwnJSON reports whether reflection says nothing about t's JSON.
func writesOwnJSON(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface {
		return false
	}
	return t.Implements(reflect.TypeFor[json.Marshaler]()) || t.Implements(reflect.TypeFor[encoding.TextMarshaler]())
}

// nullable is of, with null allowed where Go's nil would show.
func (s *schemas) nullable(t reflect.Type) object {
	schema := s.of(t)
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
	default:
		return schema
	}
	if name, ok := schema["type"].(string); ok && t.Kind() != reflect.Pointer && customSchemas[t] == nil {
		schema["type"] = []any{name, "null"}
		return schema
	}
	return object{"anyOf": []any{schema, object{"type": "null"}}}
}

func (s *schemas) ofStruct(t reflect.Type) object {
	name := componentName(t)
	if name == "" {
		return s.properties(t)
	}
	owner, ok := s.owners[name]
	if ok && owner != t && s.lenient {
		name = t.String() // with its package
		_, ok = s.owners[name]
	} else if ok && owner != t {
		panic("openapi schema: two types are named " + name)
	}
	if !ok {
		s.owners[name] = t // before the fields, to end recursion
		s.components[name] = s.properties(t)
	}
	return object{"$ref": cmp.Or(s.place, "#/components/schemas/") + name}
}

func componentName(t reflect.Type) string {
	name := t.Name()
	if name == "" || strings.ContainsAny(name, "[") {
		return ""
	}
	return strings.ToUpper(name[:1]) + name[1:]
}

func (s *schemas) properties(t reflect.Type) object {
	props, required := object{}, []any{}
	s.addFields(t, props, &required)
	for _, name := range durationTexts[t] {
		props[name] = object{"type": "string", "description": "duration such as 1h30m0s, empty for none"}
	}
	out := object{"type": "object", "properties": props}
	if t.PkgPath() == reflect.TypeFor[agentSelf]().PkgPath() && len(required) > 0 {
		out["required"] = required
	}
	return out
}

// addFields follows encoding/json: tags, skipped and embedded fields.
func (s *schemas) addFields(t reflect.Type, props object, required *[]any) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		if f.Anonymous && name == "" {
			inner, needed := f.Type, required
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
				if s.lenient { // its fields are left out where it is nil
					needed = new([]any)
				}
			}
			if inner.Kind() == reflect.Struct {
				s.addFields(inner, props, needed)
				continue
			}
		}
		if !f.IsExported() {
			continue
		}
		if name == "" {
			name = f.Name
		}
		props[name] = s.nullable(f.Type)
		if !strings.Contains(opts, "omit") {
			*required = append(*required, name)
		}
	}
}
