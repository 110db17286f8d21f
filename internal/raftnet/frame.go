package raftnet

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// frameVersion is the second field of every frame. A receiver closes the
// connection on any other.
const frameVersion = 1

// headerLen is the length, the version and the kind.
const headerLen = 6

// growStep bounds what is allocated for a frame on the word of its length alone.
const growStep = 1 << 20

// kind says what a frame holds. The numbers are on the wire and never reused.
type kind uint8

const (
	kindAppend     kind = 1
	kindVote       kind = 2
	kindPreVote    kind = 3
	kindSnapshot   kind = 4
	kindTimeoutNow kind = 5
	// kindChunk follows kindSnapshot; an empty one ends the snapshot.
	kindChunk kind = 6
	// kindWatch asks for nothing: the sender waits for the connection to end.
	kindWatch kind = 7
	// kindReply marks the answer to the kind it is added to.
	kindReply kind = 0x80
)

var errMalformed = errors.New("malformed frame")

// beginFrame appends the header of a frame whose length endFrame fills in.
func beginFrame(b []byte, k kind) []byte {
	return append(b, 0, 0, 0, 0, frameVersion, byte(k))
}

// endFrame sets the length of the frame that starts at start and ends b.
func endFrame(b []byte, start int) {
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
}

// peekHeader returns the kind and the length of the body of the next frame
// without consuming anything. It reads nothing beyond what it needs.
func peekHeader(r *bufio.Reader, limit int) (kind, int, error) {
	head, err := r.Peek(headerLen)
	if err != nil {
		if errors.Is(err, io.EOF) && len(head) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return 0, 0, err
	}
	n := int64(binary.BigEndian.Uint32(head)) - (headerLen - 4)
	if n < 0 {
		return 0, 0, fmt.Errorf("%w: length too short", errMalformed)
	}
	if n > int64(limit) {
		return 0, 0, fmt.Errorf("%w: body of %d bytes exceeds the limit of %d", errMalformed, n, limit)
	}
	if head[4] != frameVersion {
		return 0, 0, fmt.Errorf("%w: version %d, this server speaks %d", errMalformed, head[4], frameVersion)
	}
	return kind(head[5]), int(n), nil
}

// readBody consumes the frame that peekHeader showed. The body lies in buf when
// it fits there; longer ones get memory as their bytes arrive.
func readBody(r *bufio.Reader, n int, buf []byte) ([]byte, error) {
	if _, err := r.Discard(headerLen); err != nil {
		return nil, err
	}
	if n <= cap(buf) {
		buf = buf[:n]
		_, err := io.ReadFull(r, buf)
		return buf, noEOF(err)
	}
	buf = make([]byte, min(n, growStep))
	for have := 0; ; {
		if _, err := io.ReadFull(r, buf[have:]); err != nil {
			return nil, noEOF(err)
		}
		if have = len(buf); have == n {
			return buf, nil
		}
		grown := make([]byte, min(n, 2*have))
		copy(grown, buf)
		buf = grown
	}
}

// noEOF turns the end of the stream inside a frame into an error of its own.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
