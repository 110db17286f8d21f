// Package drpc is the protocol of the agent's local sockets: calls of a method
// of a module, in protobuf over a Unix socket that keeps packets apart
// (SOCK_SEQPACKET). A packet that starts with byte 0 is a frame of a longer
// message, any other is a whole Call. The package knows no resource: whoever
// serves something registers a Module. Clients use package drpc at the top of
// the repository.
package drpc

//go:generate protoc -I../.. --go_out=../.. --go_opt=paths=source_relative internal/drpc/drpc.proto
