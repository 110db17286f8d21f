package command

import (
	"bytes"
	"strconv"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/cairn-project/cairn/drpc/agentpb"
)

// plain returns a message as JSON values, under the names of its .proto file.
func plain(m proto.Message) (any, error) {
	text, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return nil, failed("showing the answer", err)
	}
	return decoded(bytes.NewReader(text))
}

// socketMethod is a method with the types of its payloads.
type socketMethod struct {
	module         *agentpb.ModuleInfo
	info           *agentpb.MethodInfo
	request, reply protoreflect.MessageDescriptor
}

// named reports whether the user meant a thing with this number and name.
func named(typed string, id int32, name string) bool {
	return typed == strconv.Itoa(int(id)) || word(typed) == word(name)
}

func findModule(d *agentpb.Description, typed string) (*agentpb.ModuleInfo, error) {
	for _, m := range d.Modules {
		if named(typed, m.Id, m.Name) {
			return m, nil
		}
	}
	return nil, missing("module %q: the agent has no such module", typed)
}

func missing(format string, args ...any) error {
	return &failure{code: exitUnimplemented, err: usagef(format, args...), hint: "see `" + program + " agent socket describe` for what there is"}
}

// findMethod returns the method that the user named.
func findMethod(d *agentpb.Description, module, method string) (*socketMethod, error) {
	m, err := findModule(d, module)
	if err != nil {
		return nil, err
	}
	for _, info := range m.Methods {
		if named(method, info.Id, info.Name) {
			return withTypes(d, m, info)
		}
	}
	return nil, missing("method %q: module %s has no such method", method, m.Name)
}

// withTypes finds the types of a method's payloads in the schema.
func withTypes(d *agentpb.Description, module *agentpb.ModuleInfo, info *agentpb.MethodInfo) (*socketMethod, error) {
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(d.Schema, &set); err != nil {
		return nil, failed("reading the agent's schema", err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, failed("reading the agent's schema", err)
	}
	out := &socketMethod{module: module, info: info}
	for name, into := range map[string]*protoreflect.MessageDescriptor{info.Request: &out.request, info.Reply: &out.reply} {
		found, err := files.FindDescriptorByName(protoreflect.FullName(name))
		if err != nil {
			return nil, failed("reading the agent's schema", err)
		}
		m, ok := found.(protoreflect.MessageDescriptor)
		if !ok {
			return nil, usagef("the agent's schema has no message %q", name)
		}
		*into = m
	}
	return out, nil
}

// fieldsOf returns a line for each field of a message.
func fieldsOf(m protoreflect.MessageDescriptor) []string {
	out := []string{}
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		kind := f.Kind().String()
		if f.Kind() == protoreflect.MessageKind {
			kind = string(f.Message().Name())
		}
		if f.IsList() {
			kind = "list of " + kind
		}
		out = append(out, string(f.Name())+": "+kind)
	}
	return out
}
