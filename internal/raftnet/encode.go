package raftnet

import (
	"encoding/binary"
	"fmt"

	"github.com/hashicorp/raft"
)

// minEntrySize is an entry without data and extensions.
const minEntrySize = 8 + 8 + 1 + 8 + 4 + 4

// appendOverhead bounds what a kindAppend body holds beside its entries,
// the leader's ID and its two addresses.
const appendOverhead = 1 + 4 + 4 + 8 + 4 + 8 + 8 + 8 + 4

// maxErrorText cuts the text of an error in a reply.
const maxErrorText = 1 << 12

func putU64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }

func putBytes(b, v []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
}

func putFlag(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func putHeader(b []byte, h *raft.RPCHeader) []byte {
	return putBytes(putBytes(append(b, byte(h.ProtocolVersion)), h.ID), h.Addr)
}

// putRequest appends one whole frame with the command, a pointer to one of
// raft's requests.
func putRequest(b []byte, cmd any) ([]byte, error) {
	start := len(b)
	switch r := cmd.(type) {
	case *raft.AppendEntriesRequest:
		b = putAppend(beginFrame(b, kindAppend), r)
	case *raft.RequestVoteRequest:
		b = putU64(putHeader(beginFrame(b, kindVote), &r.RPCHeader), r.Term)
		b = putU64(putU64(putBytes(b, r.Candidate), r.LastLogIndex), r.LastLogTerm)
		b = putFlag(b, r.LeadershipTransfer)
	case *raft.RequestPreVoteRequest:
		b = putU64(putHeader(beginFrame(b, kindPreVote), &r.RPCHeader), r.Term)
		b = putU64(putU64(b, r.LastLogIndex), r.LastLogTerm)
	case *raft.InstallSnapshotRequest:
		b = putHeader(beginFrame(b, kindSnapshot), &r.RPCHeader)
		b = putBytes(putU64(append(b, byte(r.SnapshotVersion)), r.Term), r.Leader)
		b = putBytes(putU64(putU64(b, r.LastLogIndex), r.LastLogTerm), r.Peers)
		b = putU64(putU64(putBytes(b, r.Configuration), r.ConfigurationIndex), uint64(r.Size))
	case *raft.TimeoutNowRequest:
		b = putHeader(beginFrame(b, kindTimeoutNow), &r.RPCHeader)
	default:
		return b, fmt.Errorf("no frame for a %T", cmd)
	}
	endFrame(b, start)
	return b, nil
}

// putAppend appends the body. The commit index sent never exceeds the last
// entry that the request vouches for, as the Raft paper (figure 2) has it: the
// library would let a follower commit what lies behind it.
func putAppend(b []byte, r *raft.AppendEntriesRequest) []byte {
	b = putU64(putHeader(b, &r.RPCHeader), r.Term)
	b = putU64(putU64(putBytes(b, r.Leader), r.PrevLogEntry), r.PrevLogTerm)
	b = putU64(b, min(r.LeaderCommitIndex, r.PrevLogEntry+uint64(len(r.Entries))))
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Entries)))
	for _, l := range r.Entries {
		b = append(putU64(putU64(b, l.Index), l.Term), byte(l.Type))
		var at int64
		if !l.AppendedAt.IsZero() {
			at = l.AppendedAt.UnixNano()
		}
		b = putBytes(putBytes(putU64(b, uint64(at)), l.Data), l.Extensions)
	}
	return b
}

// putReply appends one whole frame that answers k.
func putReply(b []byte, k kind, resp any, failure error) ([]byte, error) {
	start := len(b)
	b = beginFrame(b, k|kindReply)
	var text string
	if failure != nil {
		text = failure.Error()
	}
	b = putBytes(b, []byte(text[:min(len(text), maxErrorText)]))
	switch r := resp.(type) {
	case *raft.AppendEntriesResponse:
		b = putU64(putU64(putHeader(b, &r.RPCHeader), r.Term), r.LastLog)
		b = putFlag(putFlag(b, r.Success), r.NoRetryBackoff)
	case *raft.RequestVoteResponse:
		b = putFlag(putBytes(putU64(putHeader(b, &r.RPCHeader), r.Term), r.Peers), r.Granted)
	case *raft.RequestPreVoteResponse:
		b = putFlag(putU64(putHeader(b, &r.RPCHeader), r.Term), r.Granted)
	case *raft.InstallSnapshotResponse:
		b = putFlag(putU64(putHeader(b, &r.RPCHeader), r.Term), r.Success)
	case *raft.TimeoutNowResponse:
		b = putHeader(b, &r.RPCHeader)
	default:
		return b, fmt.Errorf("no reply for a %T", resp)
	}
	endFrame(b, start)
	return b, nil
}

// zeroReply is what goes with an error that comes without a response.
func zeroReply(k kind) any {
	switch k {
	case kindAppend:
		return &raft.AppendEntriesResponse{}
	case kindVote:
		return &raft.RequestVoteResponse{}
	case kindPreVote:
		return &raft.RequestPreVoteResponse{}
	case kindSnapshot:
		return &raft.InstallSnapshotResponse{}
	default:
		return &raft.TimeoutNowResponse{}
	}
}

// nextPart cuts the entries of r from index from on to what fits a body of limit
// bytes. It returns the request to send and where the next part starts. A
// follower accepts the parts one after the other like requests of their own.
func nextPart(r *raft.AppendEntriesRequest, from, limit int) (raft.AppendEntriesRequest, int, error) {
	part := *r
	room := limit - appendOverhead - len(r.ID) - len(r.Addr) - len(r.Leader)
	to := from
	for to < len(r.Entries) {
		l := r.Entries[to]
		if room -= minEntrySize + len(l.Data) + len(l.Extensions); room < 0 {
			break
		}
		to++
	}
	if to == from && len(r.Entries) > 0 {
		return part, to, fmt.Errorf("log entry %d of %d bytes exceeds the limit of %d bytes per message",
			r.Entries[from].Index, len(r.Entries[from].Data), limit)
	}
	if from > 0 {
		prev := r.Entries[from-1]
		part.PrevLogEntry, part.PrevLogTerm = prev.Index, prev.Term
	}
	part.Entries = r.Entries[from:to]
	return part, to, nil
}
