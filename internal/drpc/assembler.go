package drpc

// Assembler puts the frames of one message after another together. It holds
// what was received, never what was merely announced. The zero value with Max
// set is ready; after an error it is of no further use.
type Assembler struct {
	// Max is the longest message in bytes.
	Max int

	next   uint32
	chunks uint32
	total  uint64
	data   []byte
}

// Add takes the next frame. done is true when it completed the message, which
// belongs to the caller from then on.
func (a *Assembler) Add(packet []byte) (msg []byte, done bool, err error) {
	h, chunk, err := parseFrame(packet)
	if err != nil {
		return nil, false, err
	}
	if err := a.check(h, len(chunk)); err != nil {
		return nil, false, err
	}
	if h.index == 0 {
		a.chunks, a.total = h.chunks, h.total
	}
	a.data = append(a.data, chunk...)
	a.next++
	if a.next < a.chunks {
		return nil, false, nil
	}
	if have := uint64(len(a.data)); have < a.total {
		return nil, false, frameErr(Underflow, "message of %d bytes announced, its chunks hold %d", a.total, have)
	}
	msg = a.data
	*a = Assembler{Max: a.Max}
	return msg, true, nil
}

// check compares a frame with the limits and with the frames before it.
func (a *Assembler) check(h header, size int) error {
	switch {
	case h.index != a.next:
		return frameErr(LostChunk, "chunk %d after %d of %d", h.index, a.next, h.chunks)
	case h.total > uint64(max(a.Max, 0)):
		return frameErr(MessageTooLarge, "message of %d bytes, at most %d", h.total, a.Max)
	case uint64(h.chunks) > max(h.total, 1):
		return frameErr(TooManyChunks, "%d chunks for %d bytes", h.chunks, h.total)
	case h.index > 0 && h.chunks != a.chunks:
		return frameErr(ChunkCountChanged, "%d chunks announced first, now %d", a.chunks, h.chunks)
	case h.index > 0 && h.total != a.total:
		return frameErr(TotalSizeChanged, "%d bytes announced first, now %d", a.total, h.total)
	case uint64(len(a.data))+uint64(size) > h.total:
		return frameErr(Overflow, "message of %d bytes announced, its chunks hold %d already", h.total, len(a.data)+size)
	}
	return nil
}

// Started reports whether a message has begun and lacks frames.
func (a *Assembler) Started() bool { return a.next > 0 }

// Close reports PeerClosed if the peer left in the middle of a message.
func (a *Assembler) Close() error {
	if !a.Started() {
		return nil
	}
	return frameErr(PeerClosed, "peer left after %d of %d chunks", a.next, a.chunks)
}
