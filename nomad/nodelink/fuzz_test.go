package nodelink

import (
	"bytes"
	"context"
	"testing"
)

// Whatever an agent says, the server stays up and takes no more than was sent.
func FuzzServerSide(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x02{}"))
	f.Add([]byte("\x07\x00\x00\x00\x04null"))
	f.Add([]byte("\x08\x00\x00\x00\x21{\"Outcome\":\"application_error\"}  "))
	f.Add([]byte("\x09\xff\xff\xff\xff"))
	h := NewHost(HostConfig{Region: "global", Links: NewLinks()})
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, payload, err := readFrame(bytes.NewReader(b), maxControl)
		if err != nil {
			return
		}
		if len(payload) > len(b) {
			t.Fatal("more than was sent")
		}
		hello := new(Hello)
		if h.judge(context.Background(), kind, payload, hello) == nil && hello.Validate() != nil {
			t.Fatal("an incomplete hello was taken")
		}
		for _, a := range adapters {
			if reply, failure, err := a.decode(kind, payload); err == nil && failure != nil && reply != nil {
				t.Fatal("both a reply and a failure")
			}
		}
	})
}

// Whatever a server says, the agent understands it or ends the call.
func FuzzAgentSide(f *testing.F) {
	f.Add([]byte(`{"Protocol":2,"PingInterval":1}`))
	f.Add([]byte(`{"Method":"Node.Ping","Body":{}}`))
	f.Add([]byte(`{"Reason":"retired"}`))
	f.Fuzz(func(_ *testing.T, b []byte) {
		var call callFrame
		_ = decode(b, &call)
		_ = decode(b, new(Welcome))
		_ = refusalOf(b).Error()
	})
}
