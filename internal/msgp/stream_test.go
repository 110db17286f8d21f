package msgp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

func TestReadValueSplitsAnyStream(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all []byte
		var values [][]byte
		for range rapid.IntRange(1, 4).Draw(t, "values") {
			v := genRow(t).AppendMsgpack(nil)
			values, all = append(values, v), append(all, v...)
		}
		var src io.Reader = bytes.NewReader(all)
		if len(all) < 4096 && rapid.Bool().Draw(t, "byte by byte") {
			src = iotest.OneByteReader(src)
		}
		br := bufio.NewReaderSize(src, rapid.SampledFrom([]int{16, 64, 4096}).Draw(t, "buffer"))
		for _, want := range values {
			got, _, err := ReadValue(br, []byte("dst"), 1<<20)
			if err != nil || !bytes.Equal(got, append([]byte("dst"), want...)) {
				t.Fatalf("got %d bytes, %v; want %d", len(got)-3, err, len(want))
			}
		}
		if _, _, err := ReadValue(br, nil, 1<<20); err != io.EOF {
			t.Fatalf("at the end: %v", err)
		}
	})
}

type roomFunc func(n int) bool

func (f roomFunc) Grow(n int) bool { return f(n) }

func TestReadValueAsksForRoom(t *testing.T) {
	text := func(n int) string { return string(AppendString(nil, strings.Repeat("x", n))) }
	small := "\xdc\x07\xd0" + strings.Repeat("\xa3abc", 2000) // 8003 bytes in 2000 values
	for _, tc := range []struct {
		name      string
		in        string
		room      int
		fits      bool
		questions int
	}{
		{"small", text(100), 200, true, 1},
		{"small, no room", text(100), 50, false, 1},
		{"many small ones", small, 1 << 20, true, 2},
		{"many small ones, no room", small, 5000, false, 2},
		{"large", text(1 << 20), 1<<20 + 2*roomStep, true, 7},
		{"large, no room", text(1 << 20), 300 << 10, false, 4},
		{"announced and not sent", text(1 << 20)[:70<<10], 1 << 20, true, 2},
	} {
		left, questions := tc.room, 0
		room := func(n int) bool {
			questions++
			if n > left {
				return false
			}
			left -= n
			return true
		}
		br := bufio.NewReaderSize(strings.NewReader(tc.in+"\x05"), 256)
		_, _ = br.Peek(1) // as whoever waits for a value does
		got, skipped, err := ReadValueWithin(br, nil, 4<<20, roomFunc(room))
		if questions > tc.questions {
			t.Errorf("%s: asked %d times", tc.name, questions)
		}
		if len(got) > tc.room-left {
			t.Errorf("%s: holds %d bytes, was granted %d", tc.name, len(got), tc.room-left)
		}
		switch {
		case strings.Contains(tc.name, "not sent"):
			if err != io.ErrUnexpectedEOF || tc.room-left > 140<<10 {
				t.Errorf("%s: %v, %d bytes granted", tc.name, err, tc.room-left)
			}
			continue
		case tc.fits && (err != nil || string(got) != tc.in):
			t.Errorf("%s: %d bytes, %v", tc.name, len(got), err)
		case !tc.fits && (err != ErrNoRoom || !skipped || len(got) != 0):
			t.Errorf("%s: %d bytes, %v, skipped %v", tc.name, len(got), err, skipped)
		}
		if next, _, err := ReadValue(br, nil, 100); err != nil || string(next) != "\x05" {
			t.Errorf("%s: the next value is %q, %v", tc.name, next, err)
		}
	}
}

func TestReadValueCap(t *testing.T) {
	text := func(n int) string { return string(AppendString(nil, strings.Repeat("x", n))) }
	for _, tc := range []struct {
		name    string
		in      string
		err     error
		skipped bool
	}{
		{"fits", text(1000) + "\x05", nil, false},
		{"a little too large", text(1500) + "\x05", ErrTooLarge, true},
		{"much too large", text(5000) + "\x05", ErrTooLarge, false},
		{"announces a GiB", "\xdb\x40\x00\x00\x00x", ErrTooLarge, false},
		{"announces 4 G elements", "\xdd\xff\xff\xff\xff\x01", ErrTooLarge, false},
		{"adds up", "\x93" + text(600) + text(600) + text(100) + "\x05", ErrTooLarge, true},
		{"too deep", strings.Repeat("\x91", MaxDepth+1) + "\x01", ErrDepth, false},
		{"starts nothing", "\xc1", ErrFormat, false},
		{"cut", text(1000)[:500], io.ErrUnexpectedEOF, false},
		{"empty", "", io.EOF, false},
	} {
		for _, size := range []int{16, 8192} {
			br := bufio.NewReaderSize(strings.NewReader(tc.in), size)
			_, skipped, err := ReadValue(br, nil, 1024)
			if !errors.Is(err, tc.err) || skipped != tc.skipped {
				t.Errorf("%s, buffer %d: %v, skipped %v", tc.name, size, err, skipped)
			}
			if err == nil || skipped {
				if next, _, err := ReadValue(br, nil, 1024); err != nil || string(next) != "\x05" {
					t.Errorf("%s, buffer %d: then %x, %v", tc.name, size, next, err)
				}
			}
		}
	}
}

// A length that is announced but never arrives must not be allocated.
func TestReadValueAllocatesAsBytesArrive(t *testing.T) {
	in := "\xdb\x04\x00\x00\x00" + strings.Repeat("x", 1000)
	out, _, err := ReadValue(bufio.NewReader(strings.NewReader(in)), nil, 128<<20)
	if !errors.Is(err, io.ErrUnexpectedEOF) || cap(out) > 4*growStep {
		t.Fatalf("%v, %d bytes allocated for 1000", err, cap(out))
	}
}

func FuzzReader(f *testing.F) {
	f.Add((&row{Text: "t", Blob: []byte{1}, Meta: map[string]string{"a": "b"}, Names: []string{"n"}}).AppendMsgpack(nil))
	f.Add([]byte("\x82\xa4Text\xdb\xff\xff\xff\xff\xa5Count\xff"))
	f.Add([]byte("\xc1"))
	f.Add(bytes.Repeat([]byte{0x91}, 200))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := Scan(b)
		stream, _, streamErr := ReadValue(bufio.NewReaderSize(bytes.NewReader(b), 16), nil, 1<<20)
		if (err == nil) != (streamErr == nil) || err == nil && len(stream) != n {
			t.Fatalf("Scan = %d, %v; ReadValue = %d bytes, %v", n, err, len(stream), streamErr)
		}
		r := NewReader(b)
		var v row
		if v.ParseMsgpack(r) == nil {
			// the reflective decoder may be stricter or laxer, but what we took we can write
			again := v.AppendMsgpack(nil)
			var w row
			if err := w.ParseMsgpack(NewReader(again)); err != nil {
				t.Fatalf("written again: %v", err)
			}
		}
		if r.Offset() > len(b) {
			t.Fatalf("read %d of %d bytes", r.Offset(), len(b))
		}
		var plain plainRow
		_ = Unmarshal(b, &plain)
		r.Reset(b)
		for r.More() {
			before := r.Offset()
			r.ArrayHeader()
			r.Float64()
			if r.Err() == nil && r.Offset() == before {
				t.Fatal("no progress")
			}
		}
	})
}
