package msgp

const (
	// cheapSize is up to where a value is decoded without being weighed: a byte
	// of it becomes a struct of a kilobyte at worst, 64 MiB in all.
	cheapSize = 64 << 10
	// maxEmpty bounds the elements of one byte in a larger value.
	maxEmpty = 64 << 10
	// fields is how many entries a map must exceed to be surely not a struct,
	// whose fields are often empty.
	fields = 256
)

// weigh refuses a value that consists of empty elements: nils, or empty maps
// and arrays, each a byte long, that may become large structs when decoded. Bad
// encodings pass; the decoder says what is wrong with them.
func weigh(b []byte) error {
	w := weight{buf: b}
	w.value(0)
	if w.empty > maxEmpty {
		return ErrHeavy
	}
	return nil
}

type weight struct {
	buf   []byte
	empty int
}

// value weighs the first value in buf and moves behind it; false means stop.
func (w *weight) value(depth int) bool {
	if len(w.buf) == 0 || depth > MaxDepth || w.empty > maxEmpty {
		return false
	}
	c := w.buf[0]
	t, n, err := header(w.buf)
	if err != nil || n+t.payload > len(w.buf) {
		return false
	}
	w.buf = w.buf[n+t.payload:]
	isMap := c&0xf0 == codeFixMap || c == codeMap16 || c == codeMap32
	crowd := t.values > 0 && (!isMap || t.values > 2*fields)
	for range t.values {
		if crowd && len(w.buf) > 0 && isEmpty(w.buf[0]) {
			w.empty++
		}
		if !w.value(depth + 1) {
			return false
		}
	}
	return true
}

func isEmpty(c byte) bool {
	return c == codeNil || c == codeFixMap || c == codeFixArray || c == codeFixStr
}
