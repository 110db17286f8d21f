// Package agentpb holds the payloads of the modules that an agent offers on its
// sockets, for use with package drpc. There is one .proto file for each module;
// the comment of a message names the method that takes or answers it. Method
// 206, describe, returns the same descriptors over the socket.
package agentpb

//go:generate protoc -I../.. --go_out=../.. --go_opt=paths=source_relative drpc/agentpb/identity.proto drpc/agentpb/agent.proto drpc/agentpb/security.proto drpc/agentpb/workload.proto drpc/agentpb/provider.proto
