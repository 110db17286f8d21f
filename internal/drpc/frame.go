package drpc

import (
	"encoding/binary"
	"fmt"
)

// The layout of a frame, all numbers in network order. No protobuf message
// starts with byte 0 (there is no field 0), so the marker tells a frame from a
// call that is a packet of its own.
//
//	0   marker, 0            4   index of the chunk    12  bytes of the chunk
//	1   version, 1           8   number of chunks      16  bytes of the message (64 bits)
//	2   flags (16 bits), 0                             24  the chunk
//
// The size of the chunk follows from the packet too; it is written down so
// that a packet which was cut on its way shows.
const (
	frameMarker  = 0
	frameVersion = 1
	frameHeader  = 24

	// ChunkCapacity is how many bytes of a message one frame holds at most.
	ChunkCapacity = 131048
	// MaxPacket is the longest packet, and so the longest message without frames.
	MaxPacket = frameHeader + ChunkCapacity
	// DefaultMaxMessage is the longest message, in frames, unless configured otherwise.
	DefaultMaxMessage = 4 << 20
)

// FrameClass names what is wrong with a frame, in the order in which it is checked.
type FrameClass string

// The classes. The first that applies is reported; all of them end the session.
const (
	ShortHeader       FrameClass = "short-header"
	BadVersion        FrameClass = "bad-version"
	ZeroChunks        FrameClass = "zero-chunks"
	ChunkSizeMismatch FrameClass = "chunk-size-mismatch"
	ChunkTooBig       FrameClass = "chunk-too-big"
	LostChunk         FrameClass = "lost-chunk"
	MessageTooLarge   FrameClass = "message-too-large"
	TooManyChunks     FrameClass = "too-many-chunks"
	ChunkCountChanged FrameClass = "chunk-count-changed"
	TotalSizeChanged  FrameClass = "total-size-changed"
	Overflow          FrameClass = "overflow"
	Underflow         FrameClass = "underflow"
	PeerClosed        FrameClass = "peer-closed"
)

// FrameError is a breach of the framing. What follows on the connection cannot
// be trusted to begin a message, so it ends the session.
type FrameError struct {
	Class  FrameClass
	Detail string
}

// Error returns the class and what was seen.
func (e *FrameError) Error() string { return string(e.Class) + ": " + e.Detail }

func frameErr(class FrameClass, format string, args ...any) error {
	return &FrameError{Class: class, Detail: fmt.Sprintf(format, args...)}
}

// header is the decoded head of a frame.
type header struct {
	index, chunks, size uint32
	total               uint64
}

// append writes the header's 24 bytes.
func (h header) append(b []byte) []byte {
	b = append(b, frameMarker, frameVersion, 0, 0)
	b = binary.BigEndian.AppendUint32(b, h.index)
	b = binary.BigEndian.AppendUint32(b, h.chunks)
	b = binary.BigEndian.AppendUint32(b, h.size)
	return binary.BigEndian.AppendUint64(b, h.total)
}

// parseFrame splits a packet into header and chunk, and checks what a frame
// says about itself alone.
func parseFrame(packet []byte) (header, []byte, error) {
	if len(packet) < frameHeader {
		return header{}, nil, frameErr(ShortHeader, "packet of %d bytes, a header has %d", len(packet), frameHeader)
	}
	if packet[0] != frameMarker || packet[1] != frameVersion || packet[2]|packet[3] != 0 {
		return header{}, nil, frameErr(BadVersion, "frame begins with %x, version %d begins with 00010000", packet[:4], frameVersion)
	}
	h := header{
		index:  binary.BigEndian.Uint32(packet[4:]),
		chunks: binary.BigEndian.Uint32(packet[8:]),
		size:   binary.BigEndian.Uint32(packet[12:]),
		total:  binary.BigEndian.Uint64(packet[16:]),
	}
	chunk := packet[frameHeader:]
	switch {
	case h.chunks == 0:
		return h, nil, frameErr(ZeroChunks, "message in 0 chunks")
	case uint64(h.size) != uint64(len(chunk)):
		return h, nil, frameErr(ChunkSizeMismatch, "chunk of %d bytes announced, packet holds %d", h.size, len(chunk))
	case len(chunk) > ChunkCapacity:
		return h, nil, frameErr(ChunkTooBig, "chunk of %d bytes, at most %d", len(chunk), ChunkCapacity)
	}
	return h, chunk, nil
}

// chunkCount returns how many chunks a message of n bytes takes; an empty one takes one.
func chunkCount(n, capacity int) int { return max(1, (n+capacity-1)/capacity) }

// chunkAt returns chunk i of the message.
func chunkAt(msg []byte, i, capacity int) []byte {
	return msg[min(len(msg), i*capacity):min(len(msg), (i+1)*capacity)]
}

// frameAt appends frame i of the message to b.
func frameAt(b, msg []byte, i int) []byte {
	chunk := chunkAt(msg, i, ChunkCapacity)
	h := header{
		index:  uint32(i),
		chunks: uint32(chunkCount(len(msg), ChunkCapacity)),
		size:   uint32(len(chunk)),
		total:  uint64(len(msg)),
	}
	return append(h.append(b), chunk...)
}
