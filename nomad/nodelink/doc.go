// Package nodelink lets servers call node agents over the connections that the
// agents dialled. The agent dials and serves, the server accepts and calls: a
// handshake settles the version of the protocol and who the node is, then every
// call has a stream to itself. The package holds both halves, which agents exist
// for the servers of a region to call, and the table of methods.
package nodelink
