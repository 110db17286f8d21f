// Package raftnet carries Raft between servers over connections that somebody
// else accepts and dials. It implements raft.Transport with pre-vote, keeps
// heartbeats away from bulk traffic, confirms leadership for linearizable reads
// (Confirm) and notices the death of the leader's process (WatchLeader).
//
// Every connection carries frames: a uint32 length of what follows, a version
// byte, a kind byte and a flat body. Numbers are big-endian, strings and byte
// slices have a uint32 length. Requests are answered in the order they came.
// Which traffic shares a connection is the sender's choice: votes and single
// appends use pooled connections, raft's heartbeats a pool of their own, each
// pipeline, each snapshot, each voter's confirmations and the leader watch one
// connection each.
package raftnet
