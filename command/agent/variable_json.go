package agent

import (
	"strconv"

	"github.com/cairn-project/cairn/nomad/structs"
)

// appendVariables appends the JSON of variables without reflection, as they
// are what the API serves most. It reports false for any other type. The bytes
// are those of encoding/json without HTML escapes.
func appendVariables(b []byte, v any) ([]byte, bool) {
	switch v := v.(type) {
	case *structs.VariableDecrypted:
		if v == nil {
			return append(b, "null"...), true
		}
		return appendVariable(b, v), true
	case *structs.VariableMetadata:
		if v == nil {
			return append(b, "null"...), true
		}
		return append(appendMetadata(append(b, '{'), v), '}'), true
	case []*structs.VariableMetadata:
		return appendMetadataList(b, v), true
	}
	return b, false
}

func appendMetadataList(b []byte, list []*structs.VariableMetadata) []byte {
	if list == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i, m := range list {
		if i > 0 {
			b = append(b, ',')
		}
		if m == nil {
			b = append(b, "null"...)
			continue
		}
		b = append(appendMetadata(append(b, '{'), m), '}')
	}
	return append(b, ']')
}

func appendVariable(b []byte, v *structs.VariableDecrypted) []byte {
	b = appendMetadata(append(b, '{'), &v.VariableMetadata)
	b = append(b, `,"Items":`...)
	if v.Items == nil {
		return append(b, "null}"...)
	}
	return append(structs.AppendItems(b, v.Items), '}')
}

// appendMetadata appends the fields without the braces.
func appendMetadata(b []byte, m *structs.VariableMetadata) []byte {
	b = structs.AppendJSONString(append(b, `"Namespace":`...), m.Namespace)
	b = structs.AppendJSONString(append(b, `,"Path":`...), m.Path)
	b = strconv.AppendUint(append(b, `,"CreateIndex":`...), m.CreateIndex, 10)
	b = strconv.AppendInt(append(b, `,"CreateTime":`...), m.CreateTime, 10)
	b = strconv.AppendUint(append(b, `,"ModifyIndex":`...), m.ModifyIndex, 10)
	b = strconv.AppendInt(append(b, `,"ModifyTime":`...), m.ModifyTime, 10)
	if l := m.Lock; l != nil {
		b = append(b, `,"Lock":{`...)
		if l.ID != "" {
			b = append(structs.AppendJSONString(append(b, `"ID":`...), l.ID), ',')
		}
		b = structs.AppendJSONString(append(b, `"TTL":`...), l.TTL.String())
		b = structs.AppendJSONString(append(b, `,"LockDelay":`...), l.LockDelay.String())
		b = append(b, '}')
	}
	return b
}
