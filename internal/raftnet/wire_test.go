package raftnet

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
)

var sampleHeader = raft.RPCHeader{ProtocolVersion: 3, ID: []byte("id"), Addr: []byte("127.0.0.1:4647")}

func sampleRequests() []any {
	config := raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "id", Address: "addr"}}})
	return []any{
		&raft.AppendEntriesRequest{RPCHeader: sampleHeader, Term: 7, Leader: []byte("leader")},
		&raft.AppendEntriesRequest{
			RPCHeader: sampleHeader, Term: 7, Leader: []byte("leader"), PrevLogEntry: 10, PrevLogTerm: 6, LeaderCommitIndex: 9,
			Entries: []*raft.Log{
				{Index: 11, Term: 7, Type: raft.LogNoop},
				{Index: 12, Term: 7, Data: []byte("data"), Extensions: []byte("ext"), AppendedAt: time.Unix(1, 2)},
				{Index: 13, Term: 7, Type: raft.LogConfiguration, Data: config},
			},
		},
		&raft.RequestVoteRequest{RPCHeader: sampleHeader, Term: 8, Candidate: []byte("c"), LastLogIndex: 3, LastLogTerm: 2, LeadershipTransfer: true},
		&raft.RequestPreVoteRequest{RPCHeader: sampleHeader, Term: 8, LastLogIndex: 3, LastLogTerm: 2},
		&raft.InstallSnapshotRequest{
			RPCHeader: sampleHeader, SnapshotVersion: 1, Term: 8, Leader: []byte("leader"), LastLogIndex: 3, LastLogTerm: 2,
			Peers: []byte("p"), Configuration: config, ConfigurationIndex: 1, Size: 1 << 40,
		},
		&raft.TimeoutNowRequest{RPCHeader: sampleHeader},
	}
}

func mustEncode(tb testing.TB, cmd any) []byte {
	tb.Helper()
	b, err := putRequest(nil, cmd)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// readRequest does what a connection does with one frame.
func readRequest(b []byte, limit int) (any, error) {
	r := bufio.NewReader(bytes.NewReader(b))
	k, n, err := peekHeader(r, limit)
	if err != nil {
		return nil, err
	}
	body, err := readBody(r, n, make([]byte, 0, scratchSize))
	if err != nil {
		return nil, err
	}
	return decodeRequest(k, body)
}

func TestRequestsSurviveTheWire(t *testing.T) {
	for _, want := range sampleRequests() {
		got, err := readRequest(mustEncode(t, want), DefaultMaxMessage)
		if err != nil {
			t.Errorf("%T: %v", want, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%T (-sent +received):\n%s", want, diff)
		}
	}
}

func TestRepliesSurviveTheWire(t *testing.T) {
	for _, c := range []struct {
		k          kind
		sent, into any
	}{
		{kindAppend, &raft.AppendEntriesResponse{RPCHeader: sampleHeader, Term: 3, LastLog: 9, Success: true, NoRetryBackoff: true}, &raft.AppendEntriesResponse{}},
		{kindVote, &raft.RequestVoteResponse{RPCHeader: sampleHeader, Term: 3, Peers: []byte("p"), Granted: true}, &raft.RequestVoteResponse{}},
		{kindPreVote, &raft.RequestPreVoteResponse{RPCHeader: sampleHeader, Term: 3, Granted: true}, &raft.RequestPreVoteResponse{}},
		{kindSnapshot, &raft.InstallSnapshotResponse{RPCHeader: sampleHeader, Term: 3, Success: true}, &raft.InstallSnapshotResponse{}},
		{kindTimeoutNow, &raft.TimeoutNowResponse{RPCHeader: sampleHeader}, &raft.TimeoutNowResponse{}},
	} {
		b, err := putReply(nil, c.k, c.sent, errors.New("refused"))
		if err != nil {
			t.Fatal(err)
		}
		remote, err := decodeReply(b[headerLen:], c.into)
		if err != nil || remote == nil || remote.Error() != "refused" {
			t.Errorf("%T: error %v, %v; want refused", c.sent, remote, err)
		}
		if diff := cmp.Diff(c.sent, c.into); diff != "" {
			t.Errorf("%T (-sent +received):\n%s", c.sent, diff)
		}
	}
}

func TestFramesRefused(t *testing.T) {
	good := mustEncode(t, sampleRequests()[1])
	change := func(i int, b byte) []byte {
		c := bytes.Clone(good)
		c[i] = b
		return c
	}
	gap := &raft.AppendEntriesRequest{PrevLogEntry: 5, Entries: []*raft.Log{{Index: 7}}}
	strange := &raft.AppendEntriesRequest{Entries: []*raft.Log{{Index: 1, Type: 77}}}
	config := &raft.AppendEntriesRequest{Entries: []*raft.Log{{Index: 1, Type: raft.LogConfiguration, Data: []byte{0xc1}}}}
	for name, c := range map[string]struct {
		frame []byte
		limit int
		want  string
	}{
		"oversize":              {good, 10, "exceeds the limit of 10"},
		"no room for a kind":    {[]byte{0, 0, 0, 1, 1, 1}, 1 << 20, "length too short"},
		"another version":       {change(4, 9), 1 << 20, "version 9"},
		"unknown kind":          {change(5, 99), 1 << 20, "unknown kind 99"},
		"chunk out of place":    {change(5, byte(kindChunk)), 1 << 20, "unknown kind 6"},
		"reply as a request":    {change(5, byte(kindAppend|kindReply)), 1 << 20, "unknown kind"},
		"body of another kind":  {change(5, byte(kindVote)), 1 << 20, "body"},
		"gap between entries":   {mustEncode(t, gap), 1 << 20, "inconsistent"},
		"unknown type of entry": {mustEncode(t, strange), 1 << 20, "inconsistent"},
		"broken configuration":  {mustEncode(t, config), 1 << 20, "inconsistent"},
		"text":                  {[]byte("GET / HTTP/1.1\r\n\r\n"), 1 << 20, "exceeds the limit"},
	} {
		_, err := readRequest(c.frame, c.limit)
		if !errors.Is(err, errMalformed) || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	for cut := 1; cut < len(good); cut++ {
		if _, err := readRequest(good[:cut], 1<<20); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut after %d bytes: got %v", cut, err)
		}
	}
}

func TestLongFramesGrowWithTheirBytes(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789abcdef"), (5<<20)/16)
	frame := append(beginFrame(nil, kindAppend), want...)
	endFrame(frame, 0)
	r := bufio.NewReader(bytes.NewReader(frame))
	_, n, err := peekHeader(r, len(want))
	if err != nil {
		t.Fatal(err)
	}
	got, err := readBody(r, n, nil)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("body differs, %v", err)
	}
	header := append([]byte{1, 0, 0, 0}, frame[4:headerLen]...) // promises 16 MiB, sends nothing
	allocated := testing.AllocsPerRun(1, func() {
		r := bufio.NewReader(bytes.NewReader(header))
		_, n, _ := peekHeader(r, 1<<30)
		readBody(r, n, nil)
	})
	if allocated > 10 {
		t.Errorf("%v allocations for an empty promise", allocated)
	}
}

func TestCommitIndexStaysWithinTheRequest(t *testing.T) {
	req := &raft.AppendEntriesRequest{PrevLogEntry: 4, LeaderCommitIndex: 100, Entries: []*raft.Log{{Index: 5}, {Index: 6}}}
	got, err := readRequest(mustEncode(t, req), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if commit := got.(*raft.AppendEntriesRequest).LeaderCommitIndex; commit != 6 {
		t.Errorf("commit index %d, want the last entry's, 6", commit)
	}
}

func TestPartsOfAnAppend(t *testing.T) {
	req := &raft.AppendEntriesRequest{RPCHeader: sampleHeader, PrevLogEntry: 4, PrevLogTerm: 2}
	for i := uint64(5); i < 15; i++ {
		req.Entries = append(req.Entries, &raft.Log{Index: i, Term: i, Data: make([]byte, 100)})
	}
	const limit = 500
	prevIndex, prevTerm, parts := uint64(4), uint64(2), 0
	for from := 0; from < len(req.Entries); parts++ {
		part, next, err := nextPart(req, from, limit)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(mustEncode(t, &part)) - headerLen; n > limit {
			t.Errorf("part of %d bytes", n)
		}
		if part.PrevLogEntry != prevIndex || part.PrevLogTerm != prevTerm {
			t.Errorf("part %d follows entry %d of term %d, want %d of term %d", parts, part.PrevLogEntry, part.PrevLogTerm, prevIndex, prevTerm)
		}
		last := part.Entries[len(part.Entries)-1]
		prevIndex, prevTerm, from = last.Index, last.Term, next
	}
	if prevIndex != 14 || parts < 3 {
		t.Errorf("%d parts up to entry %d", parts, prevIndex)
	}
	if _, _, err := nextPart(req, 0, 150); err == nil || !strings.Contains(err.Error(), "log entry 5") {
		t.Errorf("an entry that fits no frame: %v", err)
	}
}

// FuzzRequest checks that what decodes is encoded to the same bytes again.
func FuzzRequest(f *testing.F) {
	for _, cmd := range sampleRequests() {
		f.Add(mustEncode(f, cmd))
	}
	f.Add([]byte{0, 0, 0, 2, 1, 7})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		cmd, err := readRequest(b, 1<<20)
		if err != nil {
			return
		}
		again, err := readRequest(mustEncode(t, cmd), 1<<21)
		if err != nil {
			t.Fatalf("cannot read back %+v: %v", cmd, err)
		}
		if ae, ok := cmd.(*raft.AppendEntriesRequest); ok {
			ae.LeaderCommitIndex = min(ae.LeaderCommitIndex, ae.PrevLogEntry+uint64(len(ae.Entries)))
		}
		if diff := cmp.Diff(cmd, again); diff != "" {
			t.Fatal(diff)
		}
	})
}

func FuzzReply(f *testing.F) {
	for _, resp := range []any{&raft.AppendEntriesResponse{Term: 3}, &raft.RequestVoteResponse{Peers: []byte("p")}, &raft.TimeoutNowResponse{RPCHeader: sampleHeader}} {
		b, err := putReply(nil, kindAppend, resp, errors.New("x"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[headerLen:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, k := range []kind{kindAppend, kindVote, kindPreVote, kindSnapshot, kindTimeoutNow} {
			if remote, err := decodeReply(b, zeroReply(k)); err == nil && remote != nil && remote.Error() == "" {
				t.Errorf("an error without text")
			}
		}
	})
}
