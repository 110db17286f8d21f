// Package nomad is the server: consensus, the replicated store behind it, the
// RPC endpoints in front of it and the duties of the leader.
package nomad
