package nomadtest

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"time"

	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/nomad/nodelink"
)

// OldHello is the hello of an agent of version 1.
func OldHello(h nodelink.Hello) map[string]any {
	return map[string]any{"Protocol": 1, "Oldest": 1, "Region": h.Region, "NodeID": h.NodeID, "Secret": h.Secret,
		"Epoch": h.Epoch, "Instance": h.Instance, "Build": "0.1.0"}
}

// ServeOldLink is an agent of version 1 of the protocol with the handlers of the
// battery. It shares no code with the agent of this release. It returns the frame
// that answered its hello and what was in it, then serves until the session ends.
func ServeOldLink(s mux.Session, hello any) (frame byte, answer []byte, err error) {
	control, err := s.Open(context.Background())
	if err != nil {
		return 0, nil, err
	}
	b, err := json.Marshal(hello)
	if err != nil {
		return 0, nil, err
	}
	if err := WriteLinkFrame(control, 1, b); err != nil {
		return 0, nil, err
	}
	if frame, answer, err = ReadLinkFrame(control); err != nil || frame != 2 {
		return frame, answer, err
	}
	go keepOldLink(s, control)
	go func() {
		for {
			conn, err := s.Accept()
			if err != nil {
				return
			}
			go oldCall(conn)
		}
	}()
	return frame, answer, nil
}

// keepOldLink says that the agent is there, and reads what the server says.
func keepOldLink(s mux.Session, control net.Conn) {
	go func() {
		_, _ = io.Copy(io.Discard, control)
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-s.Done():
			return
		case <-tick.C:
			if WriteLinkFrame(control, 4, nil) != nil {
				return
			}
		}
	}
}

// oldCall answers one call.
func oldCall(conn net.Conn) {
	defer conn.Close()
	frame, payload, err := ReadLinkFrame(conn)
	var call struct {
		Method string
		Body   json.RawMessage
	}
	if err != nil || frame != 6 || json.Unmarshal(payload, &call) != nil {
		return
	}
	result, err := LinkHandlers()[call.Method](context.Background(), &nodelink.Call{Method: call.Method, Body: call.Body})
	reply := map[string]any{"Result": result}
	if err != nil {
		reply = map[string]any{"Error": err.Error()}
	}
	if b, err := json.Marshal(reply); err == nil {
		_ = WriteLinkFrame(conn, 7, b)
	}
}

// WriteLinkFrame writes a frame of the link.
func WriteLinkFrame(w io.Writer, frame byte, payload []byte) error {
	b := binary.BigEndian.AppendUint32([]byte{frame}, uint32(len(payload)))
	_, err := w.Write(append(b, payload...))
	return err
}

// ReadLinkFrame reads a frame of the link.
func ReadLinkFrame(r io.Reader) (frame byte, payload []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	payload = make([]byte, binary.BigEndian.Uint32(head[1:]))
	_, err = io.ReadFull(r, payload)
	return head[0], payload, err
}
