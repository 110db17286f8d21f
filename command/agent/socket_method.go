package agent

import (
	"context"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/cairn-project/cairn/drpc/agentpb"
	"github.com/cairn-project/cairn/internal/drpc"
)

// socketModule is a module with what it tells about itself.
type socketModule struct {
	id    int32
	name  string
	peers peerRule
	// methods are in order of their numbers.
	methods []socketMethod
}

// peerRule is a policy with its name.
type peerRule struct {
	name  string
	allow drpc.Policy
}

// The rules that modules choose from.
var (
	anyPeer        = peerRule{"anyone", drpc.Anyone}
	knownPeer      = peerRule{"known", drpc.KnownPeers}
	privilegedPeer = peerRule{"privileged", drpc.PrivilegedPeers}
)

// socketMethod is a method with the types of its payloads.
type socketMethod struct {
	drpc.Method
	summary        string
	request, reply protoreflect.MessageDescriptor
}

// payload is a pointer to a generated message.
type payload[T any] interface {
	*T
	proto.Message
}

// socketCall declares a method that takes and answers a message. run may return
// an error of drpc.Submitted.
func socketCall[In, Out any, I payload[In], O payload[Out]](id int32, name, summary string,
	run func(context.Context, *drpc.Request, I) (O, error)) socketMethod {
	return socketMethod{
		summary: summary, request: I(new(In)).ProtoReflect().Descriptor(), reply: O(new(Out)).ProtoReflect().Descriptor(),
		Method: drpc.Method{ID: id, Name: name, Handle: func(ctx context.Context, req *drpc.Request) ([]byte, error) {
			in := I(new(In))
			if err := drpc.Unmarshal(req.Body, in); err != nil {
				return nil, err
			}
			out, err := run(ctx, req, in)
			if err != nil {
				return nil, err
			}
			return drpc.Marshal(out)
		}},
	}
}

// privileged keeps the method to root and the agent's user.
func (m socketMethod) privileged() socketMethod {
	m.Privileged = true
	return m
}

// module returns what the registry takes.
func (m *socketModule) module() drpc.Module {
	out := drpc.Module{ID: m.id, Name: m.name, Allow: m.peers.allow}
	for i := range m.methods {
		out.Methods = append(out.Methods, m.methods[i].Method)
	}
	return out
}

// greetingModule is module 0, which every registry has, for descriptions.
func greetingModule() socketModule {
	return socketModule{name: "test", peers: anyPeer, methods: []socketMethod{{
		Method: drpc.Method{Name: "greeting"}, summary: "Shows that the socket works.",
		request: (&drpc.Hello{}).ProtoReflect().Descriptor(), reply: (&drpc.HelloReply{}).ProtoReflect().Descriptor(),
	}}}
}

// describeModules tells a peer what there is.
func describeModules(modules []socketModule, peer drpc.Peer) (*agentpb.Description, error) {
	out, files := &agentpb.Description{}, &descriptorpb.FileDescriptorSet{}
	for _, m := range append([]socketModule{greetingModule()}, modules...) {
		info := &agentpb.ModuleInfo{Id: m.id, Name: m.name, Peers: m.peers.name}
		for i := range m.methods {
			method := &m.methods[i]
			info.Methods = append(info.Methods, &agentpb.MethodInfo{
				Id: method.ID, Name: method.Name, Summary: method.summary, Privileged: method.Privileged,
				Allowed: m.peers.allow(peer) && (!method.Privileged || drpc.PrivilegedPeers(peer)),
				Request: string(method.request.FullName()), Reply: string(method.reply.FullName()),
			})
			addFile(files, method.request.ParentFile())
			addFile(files, method.reply.ParentFile())
		}
		out.Modules = append(out.Modules, info)
	}
	var err error
	out.Schema, err = proto.Marshal(files)
	return out, err
}

// addFile adds a file that is not there yet. The files of payloads import nothing.
func addFile(set *descriptorpb.FileDescriptorSet, file protoreflect.FileDescriptor) {
	if slices.ContainsFunc(set.File, func(f *descriptorpb.FileDescriptorProto) bool { return f.GetName() == file.Path() }) {
		return
	}
	set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
}
