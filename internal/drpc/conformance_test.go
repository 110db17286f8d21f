package drpc

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"google.golang.org/protobuf/proto"
)

// TestConformance runs data files of cases, each on a server of its own for packets
// and on one for streams: testdata, or those in the directory that CONFORMANCE_DIR names.
func TestConformance(t *testing.T) {
	dir := os.Getenv("CONFORMANCE_DIR")
	if dir == "" {
		dir = "testdata"
	}
	total := 0
	for file, cases := range conformanceFiles(t, dir) {
		for i := range cases {
			total++
			t.Run(fmt.Sprintf("%s/%s/%s", file, cases[i].Group, cases[i].Name), func(t *testing.T) {
				for _, cases[i].stream = range []bool{false, true} {
					if err := cases[i].check(); err != nil {
						t.Errorf("over a stream %t: %v", cases[i].stream, err)
					}
				}
			})
		}
	}
	if total == 0 {
		t.Fatalf("no cases in %s: it needs a drpc.json, conformance-drpc.json or another .json file of that form", dir)
	}
}

// conformanceFiles reads every file of the form in a directory: an array of
// cases with a level. Other data files may lie beside them.
func conformanceFiles(t *testing.T, dir string) map[string][]conformanceCase {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]conformanceCase{}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		base := filepath.Base(name)
		var probe []struct{ Level string }
		err = json.Unmarshal(b, &probe)
		ours := base == "drpc.json" || base == "conformance-drpc.json"
		if !ours && (err != nil || len(probe) == 0 || probe[0].Level == "") {
			continue
		}
		var cases []conformanceCase
		if err := json.Unmarshal(b, &cases); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[base] = cases
	}
	return out
}

// number is written as a number or, where a double is too small, as a string.
type number uint64

func (n *number) UnmarshalJSON(b []byte) error {
	v, err := strconv.ParseUint(string(bytes.Trim(b, `"`)), 10, 64)
	*n = number(v)
	return err
}

type sendGen struct {
	PrefixHex  string `json:"prefix_hex"`
	PatternLen int    `json:"pattern_len"`
}

type conformanceStep struct {
	Send    *string  `json:"send"`
	SendGen *sendGen `json:"send_gen"`
	Expect  expect   `json:"expect"`
}

type conformancePacket struct {
	RawHex      *string `json:"raw_hex"`
	ChunkSize   *number `json:"chunk_size"`
	DataHex     string  `json:"data_hex"`
	DataLen     int     `json:"data_len"`
	Index       uint32  `json:"index"`
	TotalChunks uint32  `json:"total_chunks"`
	TotalSize   number  `json:"total_size"`
}

type conformanceCase struct {
	Name, Group, Level string
	Setup              setup
	conformanceStep
	MessageLen    *int `json:"message_len"`
	Steps         []conformanceStep
	Packets       []conformancePacket
	ChunkCapacity int `json:"chunk_capacity"`
	// stream has the server of the case take a stream.
	stream bool
}

// setup and expect refuse keys they do not know: a case passes only if all
// that it states was looked at.
type setup struct {
	Modules      string `json:"modules"`
	Peer         string `json:"peer"`
	ShuttingDown bool   `json:"shutting_down"`
	MaxMessage   int    `json:"max_message"`
}

type expect struct {
	Sequence       *string  `json:"sequence"`
	Status         *int32   `json:"status"`
	StatusName     *string  `json:"status_name"`
	BodyHex        *string  `json:"body_hex"`
	BodyPatternLen *int     `json:"body_pattern_len"`
	ResponseHex    *string  `json:"response_hex"`
	Session        string   `json:"session"`
	Error          string   `json:"error"`
	MessageHex     *string  `json:"message_hex"`
	MessageLen     *int     `json:"message_len"`
	ChunkDataSizes []number `json:"chunk_data_sizes"`
	Note           any      `json:"note"` // for readers
}

func (s *setup) UnmarshalJSON(b []byte) error {
	type plain setup
	return strict(b, (*plain)(s))
}

func (e *expect) UnmarshalJSON(b []byte) error {
	type plain expect
	return strict(b, (*plain)(e))
}

func strict(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// check returns what differs from what the case states, nil if nothing does.
func (c *conformanceCase) check() error {
	switch c.Level {
	case "message":
		step := c.conformanceStep
		msg, err := step.message()
		if err == nil && c.MessageLen != nil && len(msg) != *c.MessageLen {
			err = fmt.Errorf("the generated message has %d bytes, not %d", len(msg), *c.MessageLen)
		}
		if err != nil {
			return err
		}
		return c.converse([]conformanceStep{step}, c.Expect.Session)
	case "session":
		if len(c.Steps) == 0 {
			return errors.New("session without steps")
		}
		return c.converse(c.Steps, c.Expect.Session)
	case "frame":
		return c.checkFrames()
	case "split":
		return c.checkSplit()
	}
	return fmt.Errorf("no level %q", c.Level)
}

func (s *conformanceStep) message() ([]byte, error) {
	switch {
	case s.SendGen != nil:
		b, err := hex.DecodeString(s.SendGen.PrefixHex)
		return append(b, pattern(s.SendGen.PatternLen)...), err
	case s.Send != nil:
		return hex.DecodeString(*s.Send)
	}
	return nil, errors.New("nothing to send")
}

// serve starts the server of a case.
func (c *conformanceCase) serve() (*running, func(), error) {
	r, err := conformanceRegistry()
	if err != nil {
		return nil, nil, err
	}
	switch c.Setup.Modules {
	case "", "all":
	case "none":
		r = &Registry{modules: map[int32]*registered{}}
	default:
		return nil, nil, fmt.Errorf("no setup for modules %q", c.Setup.Modules)
	}
	switch c.Setup.Peer {
	case "", "privileged", "ordinary", "unknown":
	default:
		return nil, nil, fmt.Errorf("no setup for peer %q", c.Setup.Peer)
	}
	dir, err := os.MkdirTemp("", "drpc")
	if err != nil {
		return nil, nil, err
	}
	s, err := startAt(filepath.Join(dir, "s"), r, func(cfg *Config) {
		cfg.Stream = c.stream
		cfg.Privileged = func(Peer) bool { return c.Setup.Peer == "" || c.Setup.Peer == "privileged" }
		if c.Setup.MaxMessage > 0 {
			cfg.MaxMessage = c.Setup.MaxMessage
		}
	})
	if err != nil {
		return nil, nil, err
	}
	return s, func() { _ = s.stop(); _ = os.RemoveAll(dir) }, nil
}

// converse runs steps on one connection.
func (c *conformanceCase) converse(steps []conformanceStep, session string) error {
	s, stop, err := c.serve()
	if err != nil {
		return err
	}
	defer stop()
	l, err := Dial(ctxBackground, s.path, 64<<20)
	if err != nil {
		return err
	}
	defer l.Close()
	if c.Setup.ShuttingDown { // it must know the session, or it would not let it in
		for len(s.Sessions()) == 0 {
			yieldCPU()
		}
		s.shutdown()
	}
	for i := range steps {
		if err := steps[i].run(l); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return checkSession(l, session)
}

// run sends one message, in frames where it or its answer cannot go as one packet.
func (s *conformanceStep) run(l *Link) error {
	msg, err := s.message()
	if err != nil {
		return err
	}
	framed := !Fits(msg) || s.Expect.ResponseHex == nil && s.Expect.BodyHex == nil
	resp, raw, err := ask(l, Message{Data: msg, Framed: framed})
	if err != nil {
		return err
	}
	return s.Expect.response(resp, raw)
}

// response compares one answer.
func (e *expect) response(resp *Response, raw []byte) error {
	if e.Sequence == nil || e.Status == nil {
		return errors.New("the case states no sequence or no status")
	}
	var wrong []error
	differ := func(what string, want, have any) {
		if want != have {
			wrong = append(wrong, fmt.Errorf("%s is %v, want %v", what, have, want))
		}
	}
	differ("sequence", *e.Sequence, strconv.FormatInt(resp.Sequence, 10))
	differ("status", *e.Status, int32(resp.Status))
	if e.StatusName != nil && resp.Status <= Status_PERMISSION_DENIED { // later numbers have no agreed names
		differ("status name", *e.StatusName, resp.Status.String())
	}
	if e.BodyHex != nil {
		differ("body", *e.BodyHex, hex.EncodeToString(resp.Body))
	}
	if e.BodyPatternLen != nil {
		differ("length of the body", *e.BodyPatternLen, len(resp.Body))
		differ("body is the pattern", true, bytes.Equal(resp.Body, pattern(len(resp.Body))))
	}
	if e.ResponseHex != nil {
		differ("response", *e.ResponseHex, hex.EncodeToString(withoutExtensions(resp, raw)))
	}
	return errors.Join(wrong...)
}

// withoutExtensions returns a response as an older server would send it. One
// that succeeded has no extensions and is taken as it came.
func withoutExtensions(resp *Response, raw []byte) []byte {
	if resp.Status == Status_SUCCESS {
		return raw
	}
	b, err := proto.Marshal(&Response{Sequence: resp.Sequence, Status: resp.Status, Body: resp.Body})
	if err != nil {
		return nil
	}
	return b
}

// checkSession looks whether a session is open, by another call, or closed.
func checkSession(l *Link, want string) error {
	if want == "" {
		return nil
	}
	_, _, err := ask(l, Message{Data: []byte{0x18, 0x01}})
	have := "open"
	if err != nil {
		have = "closed"
	}
	if have != want {
		return fmt.Errorf("session is %s (%v), want %s", have, err, want)
	}
	return nil
}

// packet encodes a packet of a case.
func (p *conformancePacket) packet() (packet, data []byte, err error) {
	if p.RawHex != nil {
		packet, err = hex.DecodeString(*p.RawHex)
		return packet, nil, err
	}
	if data, err = hex.DecodeString(p.DataHex); err != nil {
		return nil, nil, err
	}
	if p.DataLen > 0 {
		data = pattern(p.DataLen)
	}
	h := header{index: p.Index, chunks: p.TotalChunks, size: uint32(len(data)), total: uint64(p.TotalSize)}
	if p.ChunkSize != nil { // more than a header can say is a mismatch all the same
		h.size = uint32(min(uint64(*p.ChunkSize), 1<<32-1))
	}
	return append(h.append(nil), data...), data, nil
}

// checkFrames gives the packets to an assembler, and those that end a session
// to a server too.
func (c *conformanceCase) checkFrames() error {
	var packets [][]byte
	var sent []byte
	for i := range c.Packets {
		p, data, err := c.Packets[i].packet()
		if err != nil {
			return err
		}
		packets, sent = append(packets, p), append(sent, data...)
	}
	limit := DefaultMaxMessage
	if c.Setup.MaxMessage > 0 {
		limit = c.Setup.MaxMessage
	}
	msg, done, err := assemble(packets, limit)
	if c.Expect.Error == "" {
		if err := c.message(msg, sent, done, err); err != nil || c.Expect.Session == "" {
			return err
		}
		return c.checkMessageOnSocket(packets)
	}
	var broken *FrameError
	if !errors.As(err, &broken) || string(broken.Class) != c.Expect.Error {
		return fmt.Errorf("error is %v, want %s", err, c.Expect.Error)
	}
	return c.checkFramesOnSocket(packets)
}

func (c *conformanceCase) message(msg, sent []byte, done bool, err error) error {
	switch {
	case err != nil || !done:
		return fmt.Errorf("no message: %w", err)
	case c.Expect.MessageHex == nil && c.Expect.MessageLen == nil:
		return errors.New("the case states neither error nor message")
	case c.Expect.MessageHex != nil && *c.Expect.MessageHex != hex.EncodeToString(msg):
		return fmt.Errorf("message is %x, want %s", msg, *c.Expect.MessageHex)
	case c.Expect.MessageLen != nil && *c.Expect.MessageLen != len(msg):
		return fmt.Errorf("message has %d bytes, want %d", len(msg), *c.Expect.MessageLen)
	case !bytes.Equal(msg, sent):
		return errors.New("the message is not what its chunks hold")
	}
	return nil
}

// assemble adds packets until a message is whole or something is wrong.
func assemble(packets [][]byte, limit int) ([]byte, bool, error) {
	a := Assembler{Max: limit}
	for _, p := range packets {
		msg, done, err := a.Add(p)
		if done || err != nil {
			return msg, done, err
		}
	}
	return nil, false, a.Close()
}

// checkMessageOnSocket sends packets that make a message to a server and looks whether
// the session is as the case says, once the message was answered.
func (c *conformanceCase) checkMessageOnSocket(packets [][]byte) error {
	return c.afterPackets(packets, func(l *Link) error {
		if _, _, err := nextAnswer(l); err != nil {
			return err
		}
		return checkSession(l, c.Expect.Session)
	})
}

// afterPackets sends packets to a server and lets check look at what comes of them.
func (c *conformanceCase) afterPackets(packets [][]byte, check func(*Link) error) error {
	s, stop, err := c.serve()
	if err != nil {
		return err
	}
	defer stop()
	l, err := Dial(ctxBackground, s.path, DefaultMaxMessage)
	if err != nil {
		return err
	}
	defer l.Close()
	for _, p := range packets {
		if err := l.packets.write(p); err != nil {
			return err
		}
	}
	return check(l)
}

// checkFramesOnSocket sends packets that hold an error to a server and looks
// whether the session ends, as the case says.
func (c *conformanceCase) checkFramesOnSocket(packets [][]byte) error {
	if c.Expect.Session != "" && c.Expect.Session != "closed" { // broken frames always end it
		return fmt.Errorf("session is closed, want %q", c.Expect.Session)
	}
	if slices.ContainsFunc(packets, func(p []byte) bool { return len(p) == 0 || p[0] != frameMarker || len(p) > MaxPacket }) {
		return nil // on a socket this would be a call, or would be cut
	}
	return c.afterPackets(packets, c.checkLastAnswer)
}

// checkLastAnswer looks whether a session ends with the answer to broken frames.
func (c *conformanceCase) checkLastAnswer(l *Link) error {
	if c.Expect.Error == string(PeerClosed) {
		return nil // nobody is left to look
	}
	resp, _, err := nextAnswer(l)
	if err != nil {
		return err
	}
	if resp.Sequence != -1 || !bytes.HasPrefix([]byte(resp.Text), []byte(c.Expect.Error+":")) {
		return fmt.Errorf("the server says %d, %q, want -1 and %s", resp.Sequence, resp.Text, c.Expect.Error)
	}
	if _, _, err := nextAnswer(l); !errors.Is(err, io.EOF) {
		return fmt.Errorf("after the last answer: %v, want the end", err)
	}
	return nil
}

// checkSplit compares the sizes of the chunks that a message is cut into.
func (c *conformanceCase) checkSplit() error {
	if c.MessageLen == nil || c.ChunkCapacity <= 0 {
		return errors.New("the case states no length or no capacity")
	}
	msg := pattern(*c.MessageLen)
	var sizes []number
	for i := range chunkCount(len(msg), c.ChunkCapacity) {
		chunk := chunkAt(msg, i, c.ChunkCapacity)
		sizes = append(sizes, number(len(chunk)))
		if c.ChunkCapacity == ChunkCapacity && len(frameAt(nil, msg, i)) != frameHeader+len(chunk) {
			return fmt.Errorf("frame %d does not hold its chunk", i)
		}
	}
	if !slices.Equal(sizes, c.Expect.ChunkDataSizes) {
		return fmt.Errorf("chunks of %v bytes, want %v", sizes, c.Expect.ChunkDataSizes)
	}
	return nil
}
