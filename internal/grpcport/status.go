package grpcport

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// statusName is the full name of the status service. It is frozen, and so are
// the numbers of the fields below.
const statusName = "cairn.v1.Status"

// Status is what a server tells of itself to whoever may connect.
type Status struct {
	Region, Datacenter string
	Node, NodeID       string
	Version            string
	// Leader is the address of the leader's port, "" while none is known.
	Leader string
	// IsLeader and Ready are about the server itself.
	IsLeader, Ready bool
	// StateIndex is the index of the newest write in its store.
	StateIndex uint64
}

// field describes one field of the reply.
type field struct {
	name string
	kind descriptorpb.FieldDescriptorProto_Type
	of   func(*Status) protoreflect.Value
}

func text(name string, of func(*Status) string) field {
	return field{name, descriptorpb.FieldDescriptorProto_TYPE_STRING, func(s *Status) protoreflect.Value { return protoreflect.ValueOfString(of(s)) }}
}

func flag(name string, of func(*Status) bool) field {
	return field{name, descriptorpb.FieldDescriptorProto_TYPE_BOOL, func(s *Status) protoreflect.Value { return protoreflect.ValueOfBool(of(s)) }}
}

// fields are those of the reply, numbered from 1 on. Append only.
var fields = []field{
	text("region", func(s *Status) string { return s.Region }),
	text("datacenter", func(s *Status) string { return s.Datacenter }),
	text("node", func(s *Status) string { return s.Node }),
	text("node_id", func(s *Status) string { return s.NodeID }),
	text("version", func(s *Status) string { return s.Version }),
	text("leader", func(s *Status) string { return s.Leader }),
	flag("is_leader", func(s *Status) bool { return s.IsLeader }),
	flag("ready", func(s *Status) bool { return s.Ready }),
	{"state_index", descriptorpb.FieldDescriptorProto_TYPE_UINT64, func(s *Status) protoreflect.Value { return protoreflect.ValueOfUint64(s.StateIndex) }},
}

// file describes the service as a .proto file would; reflection shows it.
var file = register()

func register() protoreflect.FileDescriptor {
	reply := &descriptorpb.DescriptorProto{Name: proto.String("GetResponse")}
	for i, f := range fields {
		reply.Field = append(reply.Field, &descriptorpb.FieldDescriptorProto{
			Name: proto.String(f.name), Number: proto.Int32(int32(i + 1)), Type: f.kind.Enum(),
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		})
	}
	fd, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("cairn/v1/status.proto"), Package: proto.String("cairn.v1"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("GetRequest")}, reply},
		Service: []*descriptorpb.ServiceDescriptorProto{{
			Name: proto.String("Status"),
			Method: []*descriptorpb.MethodDescriptorProto{{
				Name: proto.String("Get"), InputType: proto.String(".cairn.v1.GetRequest"), OutputType: proto.String(".cairn.v1.GetResponse"),
			}},
		}},
	}, nil)
	if err == nil {
		err = protoregistry.GlobalFiles.RegisterFile(fd)
	}
	if err != nil {
		panic(err) // the description above is wrong
	}
	return fd
}

// message returns the status as a reply.
func (s *Status) message() proto.Message {
	desc := file.Messages().ByName("GetResponse")
	out := dynamicpb.NewMessage(desc)
	for i, f := range fields {
		out.Set(desc.Fields().ByNumber(protoreflect.FieldNumber(i+1)), f.of(s))
	}
	return out
}

// statusService describes the service to the library.
func statusService(now func() Status) *grpc.ServiceDesc {
	get := func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		if err := decode(dynamicpb.NewMessage(file.Messages().ByName("GetRequest"))); err != nil {
			return nil, err
		}
		s := now()
		return s.message(), nil
	}
	return &grpc.ServiceDesc{
		ServiceName: statusName, HandlerType: (*any)(nil), Metadata: "cairn/v1/status.proto",
		Methods: []grpc.MethodDesc{{MethodName: "Get", Handler: get}},
	}
}
