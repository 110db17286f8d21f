package drpc

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"testing"

	"google.golang.org/protobuf/proto"
)

// FuzzCall: whatever a peer sends either is a call, which survives its own
// encoding, or is refused; and its answer can always be encoded.
func FuzzCall(f *testing.F) {
	for _, cases := range []string{"08011065180d2209737563636565646564", "0001", "08", "7b0801", "0e01", "", "08ffffffffffffffffffff01", "0801106522ffffffff07"} {
		b, err := hex.DecodeString(cases)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 12
		call := new(Call)
		err := decodeCall(b, limit, call)
		if err != nil && StatusOf(err) != Status_FAILED_UNMARSHAL_CALL && StatusOf(err) != Status_TOO_LARGE {
			t.Fatalf("refused as %v", StatusOf(err))
		}
		resp, out := encode(respond(call.Sequence, call.Body, err, "1"), false, limit)
		back := new(Response)
		if err := proto.Unmarshal(out, back); err != nil || !proto.Equal(resp, back) {
			t.Fatalf("the answer %v came back as %v, %v", resp, back, err)
		}
		if err != nil {
			return
		}
		again := new(Call)
		enc, err := proto.Marshal(call)
		if err != nil || decodeCall(enc, len(enc), again) != nil || !proto.Equal(call, again) {
			t.Fatalf("%v came back as %v", call, again)
		}
	})
}

// FuzzResponse: a client must not trust its server's bytes either.
func FuzzResponse(f *testing.F) {
	f.Add([]byte{8, 1, 16, 2, 34, 1, 'x'})
	f.Add([]byte{16, 200, 1, 42, 2, 18, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		resp := new(Response)
		if proto.Unmarshal(b, resp) != nil {
			return
		}
		ok := resp.Status == Status_SUCCESS || resp.Status == Status_SUBMITTED
		if err := resp.Err(); (err == nil) != ok || err != nil && err.Error() == "" {
			t.Fatalf("status %v is the error %v", resp.Status, err)
		}
	})
}

// FuzzAssembler gives packets, each after a length of 16 bits, to an
// assembler. It never holds more than its bound, nor more than it was sent,
// and what it hands out is what the chunks held.
func FuzzAssembler(f *testing.F) {
	pack := func(packets ...[]byte) (out []byte) {
		for _, p := range packets {
			out = append(binary.BigEndian.AppendUint16(out, uint16(len(p))), p...)
		}
		return out
	}
	frame := func(index, chunks uint32, total uint64, chunk string) []byte {
		return append(header{index: index, chunks: chunks, size: uint32(len(chunk)), total: total}.append(nil), chunk...)
	}
	f.Add(pack(frame(0, 1, 3, "abc")))
	f.Add(pack(frame(0, 2, 5, "abc"), frame(1, 2, 5, "de"), frame(0, 1, 0, "")))
	f.Add(pack(frame(0, 3, 28, "abc"), frame(2, 3, 28, "de")))
	f.Add(pack(frame(0, 1<<32-1, 1<<62, "abc")))
	f.Fuzz(func(t *testing.T, b []byte) {
		a := Assembler{Max: 1000}
		var sent []byte
		for len(b) >= 2 {
			n := min(int(binary.BigEndian.Uint16(b)), len(b)-2)
			packet := b[2 : 2+n]
			b = b[2+n:]
			msg, done, err := a.Add(packet)
			if err != nil {
				return
			}
			sent = append(sent, packet[frameHeader:]...)
			if len(a.data) > a.Max || cap(a.data) > 2*(len(sent)+64) {
				t.Fatalf("holds %d bytes with room for %d after %d", len(a.data), cap(a.data), len(sent))
			}
			if done {
				if !bytes.Equal(msg, sent) {
					t.Fatalf("message %q of chunks %q", msg, sent)
				}
				sent = nil
			}
		}
		if (a.Close() != nil) != a.Started() {
			t.Fatal("a message cut short is not noticed")
		}
	})
}
