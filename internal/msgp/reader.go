package msgp

// Reader reads MessagePack values from a buffer without reflection.
type Reader struct {
	buf []byte
	off int
}

// NewReader returns a reader over b. The reader never writes to b.
func NewReader(b []byte) *Reader { return &Reader{buf: b} }
