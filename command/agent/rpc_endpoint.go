package agent

import (
	"encoding/json"
	"reflect"
)

// rpcMessage is one request of JSON-RPC 2.0 or a batch of them, rpcAnswer what answers it.
type (
	rpcMessage json.RawMessage
	rpcAnswer  json.RawMessage
)

// rpcSchema returns the schema of a message or, with answer set, of what answers it.
func rpcSchema(answer bool) object {
	one := object{"type": "object", "required": []any{"jsonrpc", "method"}, "properties": object{
		"jsonrpc": object{"type": "string", "enum": []any{"2.0"}}, "method": object{"type": "string"},
		"params": object{}, "id": object{},
	}}
	if answer {
		one = object{"type": "object", "required": []any{"jsonrpc", "id"}, "properties": object{
			"jsonrpc": object{"type": "string", "enum": []any{"2.0"}}, "result": object{}, "id": object{},
			"error": object{"type": "object", "required": []any{"code", "message"}, "properties": object{
				"code": object{"type": "integer"}, "message": object{"type": "string"}, "data": object{"type": "array"}}},
		}}
	}
	return object{"oneOf": []any{one, object{"type": "array", "items": one}}}
}

func rpcRoutes() []route {
	return []route{
		local[rpcAnswer](doc{methods: "POST", pattern: "/v1/rpc",
			summary: "Call methods of the operator node by JSON-RPC 2.0; get_service_descriptor lists them. Failures of calls have status 200.",
			body:    reflect.TypeFor[rpcMessage](), status: []int{204, 413, 415}},
			func(r *request) error {
				r.Body = &heldBody{r.Body, r}
				r.api.rpc.http(r)
				return nil
			}),
	}
}
