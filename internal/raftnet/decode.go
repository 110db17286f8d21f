package raftnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// decoder reads fields off a body. After a field that does not fit it yields
// zeros; finish tells. Byte slices alias the body.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || n < 0 || n > len(d.b) {
		d.bad = true
		return nil
	}
	out := d.b[:n:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) u8() uint8 {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if b := d.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if b := d.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// flag accepts 0 and 1 only, so that every message has one encoding.
func (d *decoder) flag() bool {
	v := d.u8()
	d.bad = d.bad || v > 1
	return v == 1
}

// bytes returns nil for an empty slice.
func (d *decoder) bytes() []byte {
	n := d.u32()
	if uint64(n) > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	if n == 0 {
		return nil
	}
	return d.take(int(n))
}

func (d *decoder) header() raft.RPCHeader {
	return raft.RPCHeader{
		ProtocolVersion: raft.ProtocolVersion(d.u8()),
		ID:              d.bytes(),
		Addr:            d.bytes(),
	}
}

func (d *decoder) finish() error {
	if d.bad {
		return fmt.Errorf("%w: truncated or inconsistent body", errMalformed)
	}
	if len(d.b) > 0 {
		return fmt.Errorf("%w: %d bytes after the body", errMalformed, len(d.b))
	}
	return nil
}

// decodeRequest decodes the body of a request other than a chunk or a watch.
// The command aliases body.
func decodeRequest(k kind, body []byte) (any, error) {
	d := &decoder{b: body}
	var cmd any
	switch k {
	case kindAppend:
		cmd = d.appendRequest()
	case kindVote:
		cmd = &raft.RequestVoteRequest{
			RPCHeader: d.header(), Term: d.u64(), Candidate: d.bytes(),
			LastLogIndex: d.u64(), LastLogTerm: d.u64(), LeadershipTransfer: d.flag(),
		}
	case kindPreVote:
		cmd = &raft.RequestPreVoteRequest{
			RPCHeader: d.header(), Term: d.u64(), LastLogIndex: d.u64(), LastLogTerm: d.u64(),
		}
	case kindSnapshot:
		cmd = d.snapshotRequest()
	case kindTimeoutNow:
		cmd = &raft.TimeoutNowRequest{RPCHeader: d.header()}
	default:
		return nil, fmt.Errorf("%w: unknown kind %d", errMalformed, k)
	}
	return cmd, d.finish()
}

func (d *decoder) appendRequest() *raft.AppendEntriesRequest {
	r := &raft.AppendEntriesRequest{
		RPCHeader: d.header(), Term: d.u64(), Leader: d.bytes(),
		PrevLogEntry: d.u64(), PrevLogTerm: d.u64(), LeaderCommitIndex: d.u64(),
		Entries: d.entries(),
	}
	for i, l := range r.Entries {
		d.bad = d.bad || !sound(l) || l.Index != r.PrevLogEntry+1+uint64(i)
	}
	return r
}

// sound reports whether the library survives the entry: it panics on types it
// does not know and on configurations it cannot decode.
func sound(l *raft.Log) bool {
	switch l.Type {
	case raft.LogConfiguration:
		return soundConfiguration(l.Data)
	default:
		return l.Type < raft.LogConfiguration
	}
}

func soundConfiguration(b []byte) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	raft.DecodeConfiguration(b)
	return true
}

// entries allocates all entries at once; the count is checked against what is
// left of the body first.
func (d *decoder) entries() []*raft.Log {
	n := d.u32()
	if uint64(n) > uint64(len(d.b)/minEntrySize) {
		d.bad = true
	}
	if d.bad || n == 0 {
		return nil
	}
	logs, out := make([]raft.Log, n), make([]*raft.Log, n)
	for i := range logs {
		l := &logs[i]
		l.Index, l.Term, l.Type = d.u64(), d.u64(), raft.LogType(d.u8())
		if at := int64(d.u64()); at != 0 {
			l.AppendedAt = time.Unix(0, at)
		}
		l.Data, l.Extensions = d.bytes(), d.bytes()
		out[i] = l
	}
	return out
}

func (d *decoder) snapshotRequest() *raft.InstallSnapshotRequest {
	r := &raft.InstallSnapshotRequest{
		RPCHeader: d.header(), SnapshotVersion: raft.SnapshotVersion(d.u8()), Term: d.u64(),
		Leader: d.bytes(), LastLogIndex: d.u64(), LastLogTerm: d.u64(), Peers: d.bytes(),
		Configuration: d.bytes(), ConfigurationIndex: d.u64(), Size: int64(d.u64()),
	}
	d.bad = d.bad || r.Size < 0 || (r.SnapshotVersion > 0 && !soundConfiguration(r.Configuration))
	return r
}

// decodeReply decodes an answer into resp, a pointer to one of raft's responses.
// The first result is the peer's own error, nil for none.
func decodeReply(body []byte, resp any) (remote, err error) {
	d := &decoder{b: body}
	if text := d.bytes(); text != nil {
		remote = errors.New(string(text))
	}
	switch r := resp.(type) {
	case *raft.AppendEntriesResponse:
		*r = raft.AppendEntriesResponse{RPCHeader: d.ownHeader(), Term: d.u64(), LastLog: d.u64(), Success: d.flag(), NoRetryBackoff: d.flag()}
	case *raft.RequestVoteResponse:
		*r = raft.RequestVoteResponse{RPCHeader: d.ownHeader(), Term: d.u64(), Peers: d.ownBytes(), Granted: d.flag()}
	case *raft.RequestPreVoteResponse:
		*r = raft.RequestPreVoteResponse{RPCHeader: d.ownHeader(), Term: d.u64(), Granted: d.flag()}
	case *raft.InstallSnapshotResponse:
		*r = raft.InstallSnapshotResponse{RPCHeader: d.ownHeader(), Term: d.u64(), Success: d.flag()}
	case *raft.TimeoutNowResponse:
		*r = raft.TimeoutNowResponse{RPCHeader: d.ownHeader()}
	default:
		return nil, fmt.Errorf("%w: no such reply", errMalformed)
	}
	return remote, d.finish()
}

// ownHeader copies, because replies are read into a buffer that is used again.
func (d *decoder) ownHeader() raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersion(d.u8()), ID: d.ownBytes(), Addr: d.ownBytes()}
}

func (d *decoder) ownBytes() []byte { return append([]byte(nil), d.bytes()...) }
