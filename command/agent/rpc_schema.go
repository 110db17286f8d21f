package agent

import (
	"cmp"
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/cairn-project/cairn/nomad/structs"
)

// readOptionSchemas and writeOptionSchemas are the parameters that generated methods
// take beside the fields of their request. They are named as in the HTTP API.
var (
	readOptionSchemas = object{
		"region":     object{"type": "string", "description": "region to ask, the agent's own by default"},
		"namespace":  object{"type": "string", "description": "namespace to read, * in lists for all that the caller may read"},
		"stale":      object{"type": "boolean", "description": "let any server answer from what it has"},
		"index":      object{"type": "integer", "minimum": 0, "description": "wait until the result is newer than this index"},
		"wait":       object{"type": "string", "description": "longest time to wait, such as 60s; at most 300s"},
		"prefix":     object{"type": "string", "description": "list only keys that begin with it, where the list can"},
		"filter":     object{"type": "string", "description": "expression that selects objects, where the list can"},
		"per_page":   object{"type": "integer", "minimum": 0, "maximum": 1<<31 - 1, "description": "size of a page, where the list can"},
		"next_token": object{"type": "string", "description": "where the page begins, from NextToken"},
		"reverse":    object{"type": "boolean", "description": "list in descending order, where the list can"},
	}
	writeOptionSchemas = object{
		"region":            object{"type": "string", "description": "region to write to, the agent's own by default"},
		"namespace":         object{"type": "string", "description": "namespace to write to, default by default"},
		"idempotency_token": object{"type": "string", "description": "names the write: sent again by the same caller within minutes, it is applied once and gets the first answer"},
	}
)

// sharedTypes are embedded in requests and replies and are not theirs alone.
var sharedTypes = []reflect.Type{
	reflect.TypeFor[structs.QueryOptions](), reflect.TypeFor[structs.WriteRequest](), reflect.TypeFor[structs.InternalRpcInfo](),
	reflect.TypeFor[structs.QueryMeta](), reflect.TypeFor[structs.WriteMeta](),
}

// internalFields are set by servers: callers of the HTTP API cannot set them either.
var internalFields = map[string]bool{
	"ACL.Bootstrap.Token": true, "ACL.Bootstrap.ResetIndex": true, "ACL.UpsertOneTimeToken.OneTimeToken": true,
	"Node.UpdateDrain.NodeEvent": true, "Node.UpdateDrain.UpdatedAt": true, "Node.UpdateDrain.AccessorID": true,
	"Node.UpdateEligibility.NodeEvent": true, "Node.UpdateEligibility.UpdatedAt": true,
	"Node.UpdateEligibility.AccessorID": true, "Node.UpdateEligibility.Due": true,
	"ACL.UpsertRoles.AllowMissingPolicies": true, "ACL.UpsertBindingRules.AllowMissingAuthMethods": true, "ACL.UpsertTokens.AllowMissingRoles": true,
	"NodeLink.Call.ServerID": true, "NodeLink.Call.Caller": true, "NodeLink.Call.Passed": true, "NodeLink.Call.Trace": true,
}

// neededFields say what an RPC is about: without one of these it has no subject, and the
// servers would look for what has no name. None of them may be empty.
var neededFields = map[string][]string{
	"ACL.GetAuthMethod": {"MethodName"}, "ACL.GetBindingRule": {"ACLBindingRuleID"}, "ACL.GetPolicy": {"Name"}, "ACL.GetRoleByID": {"RoleID"},
	"ACL.GetRoleByName": {"RoleName"}, "ACL.GetToken": {"AccessorID"}, "ACL.ExchangeOneTimeToken": {"OneTimeSecretID"},
	"ClientStats.Stats": {"NodeID"}, "Namespace.GetNamespace": {"Name"},
	"Node.Deregister": {"NodeID"}, "Node.Evaluate": {"NodeID"}, "Node.GetAllocs": {"NodeID"}, "Node.GetNode": {"NodeID"},
	"Node.UpdateDrain": {"NodeID"}, "Node.UpdateEligibility": {"NodeID", "Eligibility"},
	"NodeIdentity.Get": {"NodeID"}, "NodeIdentity.Renew": {"NodeID"}, "NodeLink.Call": {"NodeID", "Method"}, "NodeLink.Kick": {"NodeID"},
	"NodeMeta.Apply": {"NodeID"}, "NodeMeta.Read": {"NodeID"},
	"NodePool.GetNodePool": {"Name"}, "NodePool.ListJobs": {"Name"}, "NodePool.ListNodes": {"Name"},
	"Operator.RaftRemovePeerByID": {"ID"}, "Variables.Read": {"Path"}, "Variables.RenewLock": {"Path", "LockID"},
}

// newRPCSchemas returns schemas for documents that stand for themselves: what
// they refer to lies in their $defs.
func newRPCSchemas() *schemas {
	return &schemas{components: object{}, owners: map[string]reflect.Type{}, place: "#/$defs/", lenient: true}
}

// document returns schema with the definitions it refers to.
func (s *schemas) document(schema object) json.RawMessage {
	if len(s.components) > 0 {
		schema["$defs"] = s.components
	}
	raw, err := json.Marshal(schema)
	if err != nil {
		panic("json-rpc schema: " + err.Error()) // a fault in a type, found by any test
	}
	return raw
}

// schemaFor returns the schema of what a T looks like as JSON.
func schemaFor[T any]() json.RawMessage { return schemaOf(reflect.TypeFor[T]()) }

func schemaOf(t reflect.Type) json.RawMessage {
	s := newRPCSchemas()
	if t.Kind() == reflect.Struct {
		return s.document(s.properties(t))
	}
	return s.document(s.nullable(t))
}

// eitherSchema returns the schema of what is one of two structs.
func eitherSchema(a, b reflect.Type) json.RawMessage {
	s := newRPCSchemas()
	return s.document(object{"anyOf": []any{s.properties(a), s.properties(b)}})
}

// requestSchema returns the schema of the parameters of an RPC whose request is a t:
// its own fields but those that are internal, and the options of a read or a write.
// Anything else is refused, so that a parameter with a slip in its name is not ignored.
func requestSchema(rpc string, t reflect.Type, writes bool) json.RawMessage {
	s := newRPCSchemas()
	props := object{}
	options := readOptionSchemas
	if writes {
		options = writeOptionSchemas
	}
	for name, schema := range options {
		props[name] = schema
	}
	for _, f := range ownFields(t) {
		if !internalFields[rpc+"."+f.Name] {
			props[fieldName(f)] = s.nullable(f.Type)
		}
	}
	schema := object{"type": "object", "additionalProperties": false, "properties": props}
	if needed := neededFields[rpc]; needed != nil {
		schema["required"] = needed
		for _, name := range needed {
			props[name] = object{"type": "string", "minLength": 1}
		}
	}
	return s.document(schema)
}

// ownFields returns the exported fields of a request or a reply beside those that all have.
func ownFields(t reflect.Type) []reflect.StructField {
	var out []reflect.StructField
	if t.Kind() != reflect.Struct {
		return nil
	}
	for i := range t.NumField() {
		f := t.Field(i)
		switch {
		case slices.Contains(sharedTypes, f.Type), f.Tag.Get("json") == "-":
		case f.Anonymous && f.Type.Kind() == reflect.Struct:
			out = append(out, ownFields(f.Type)...)
		case f.IsExported():
			out = append(out, f)
		}
	}
	return out
}

// fieldName is what encoding/json calls a field.
func fieldName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return cmp.Or(name, f.Name)
}

// paramsFor returns the schema of parameters that are decoded into a P. Fields are
// required unless they may be left out; others are refused.
func paramsFor[P any]() json.RawMessage {
	s := newRPCSchemas()
	schema := s.properties(reflect.TypeFor[P]())
	schema["additionalProperties"] = false
	return s.document(schema)
}

// withBackground adds the parameter that has a call run as an operation.
func withBackground(params json.RawMessage) json.RawMessage {
	var schema object
	if err := json.Unmarshal(params, &schema); err != nil {
		panic("json-rpc schema: " + err.Error()) // it was made here
	}
	props, _ := schema["properties"].(object)
	props["background"] = object{"type": "boolean", "description": "answer at once with an operation, see get_operations"}
	return newRPCSchemas().document(schema)
}
