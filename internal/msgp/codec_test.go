package msgp

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-msgpack/v2/codec"
	"pgregory.net/rapid"
)

// reflective is the encoding that the hand-written one has to match.
func reflective(t rapid.TB, v any) []byte {
	t.Helper()
	var out []byte
	if err := codec.NewEncoderBytes(&out, handle).Encode(v); err != nil {
		t.Fatal(err)
	}
	return out
}

// row has a field of every sort, its fields out of order.
type row struct {
	Text   string
	Blob   []byte
	Count  uint64
	Delta  int64
	Small  int8
	Wide   uint32
	On     bool
	Wait   time.Duration
	At     time.Time
	Ratio  float64
	Meta   map[string]string
	Names  []string
	Secret string `codec:"-"`
}

func (v *row) AppendMsgpack(b []byte) []byte {
	b = AppendMapHeader(b, 12)
	b = AppendTime(AppendField(b, "At"), v.At)
	b = AppendBytes(AppendField(b, "Blob"), v.Blob)
	b = AppendUint64(AppendField(b, "Count"), v.Count)
	b = AppendInt64(AppendField(b, "Delta"), v.Delta)
	b = AppendStringMap(AppendField(b, "Meta"), v.Meta)
	b = AppendStrings(AppendField(b, "Names"), v.Names)
	b = AppendBool(AppendField(b, "On"), v.On)
	b = AppendFloat64(AppendField(b, "Ratio"), v.Ratio)
	b = AppendInt64(AppendField(b, "Small"), int64(v.Small))
	b = AppendString(AppendField(b, "Text"), v.Text)
	b = AppendDuration(AppendField(b, "Wait"), v.Wait)
	return AppendUint64(AppendField(b, "Wide"), uint64(v.Wide))
}

func (v *row) ParseMsgpack(r *Reader) error {
	*v = row{}
	for n := r.MapHeader(); n > 0 && r.Err() == nil; n-- {
		switch string(r.StringKey()) {
		case "At":
			v.At = r.Time()
		case "Blob":
			v.Blob = r.Bytes()
		case "Count":
			v.Count = r.Uint64()
		case "Delta":
			v.Delta = r.Int64()
		case "Meta":
			v.Meta = r.StringMap()
		case "Names":
			v.Names = r.Strings()
		case "On":
			v.On = r.Bool()
		case "Ratio":
			v.Ratio = r.Float64()
		case "Small":
			v.Small = int8(r.Int64())
		case "Text":
			v.Text = r.String()
		case "Wait":
			v.Wait = r.Duration()
		case "Wide":
			v.Wide = uint32(r.Uint64())
		default:
			r.Skip()
		}
	}
	return r.Err()
}

// plainRow is row without its methods.
type plainRow row

func genRow(t *rapid.T) *row {
	length := rapid.SampledFrom([]int{0, 1, 31, 32, 255, 256, 65535, 65536})
	v := &row{
		Text:  string(make([]byte, length.Draw(t, "text"))),
		Count: rapid.Uint64().Draw(t, "count"),
		Delta: rapid.Int64().Draw(t, "delta"),
		Small: rapid.Int8().Draw(t, "small"),
		Wide:  rapid.Uint32().Draw(t, "wide"),
		On:    rapid.Bool().Draw(t, "on"),
		Wait:  time.Duration(rapid.Int64().Draw(t, "wait")),
		Ratio: rapid.Float64().Draw(t, "ratio"),
		Meta:  rapid.MapOfN(rapid.String(), rapid.String(), -1, 20).Draw(t, "meta"),
		Names: rapid.SliceOfN(rapid.String(), -1, 40).Draw(t, "names"),
	}
	if rapid.Bool().Draw(t, "has time") {
		zone := time.FixedZone("", 60*rapid.IntRange(0, 700).Draw(t, "zone"))
		v.At = time.Unix(rapid.Int64Range(-1e10, 1e11).Draw(t, "sec"), rapid.Int64Range(0, 999999999).Draw(t, "ns")).In(zone)
	}
	if rapid.Bool().Draw(t, "has blob") {
		v.Blob = bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, length.Draw(t, "blob"))
	}
	if rapid.Bool().Draw(t, "no meta") {
		v.Meta, v.Names = nil, nil
	}
	return v
}

func TestHandWrittenMatchesReflective(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := genRow(t)
		want := reflective(t, (*plainRow)(v))
		got := v.AppendMsgpack([]byte("before"))
		if !bytes.Equal(got, append([]byte("before"), want...)) {
			t.Fatalf("hand-written %x\nreflective   %x", got[6:], want)
		}
		if n, err := Scan(append(want[:len(want):len(want)], 0xc0)); err != nil || n != len(want) {
			t.Fatalf("Scan = %d, %v; want %d", n, err, len(want))
		}
		var parsed row
		if err := Unmarshal(want, &parsed); err != nil {
			t.Fatal(err)
		}
		var decoded plainRow
		if err := Unmarshal(want, &decoded); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(row(decoded), parsed, cmp.AllowUnexported(time.Time{})); diff != "" {
			t.Fatalf("reflective (-), hand-written (+):\n%s", diff)
		}
	})
}

func TestIntegersMatchReflective(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shift := rapid.IntRange(0, 63).Draw(t, "shift")
		u := rapid.Uint64().Draw(t, "u") >> shift
		i := rapid.Int64().Draw(t, "i") >> shift
		if got, want := AppendUint64(nil, u), reflective(t, u); !bytes.Equal(got, want) {
			t.Fatalf("unsigned %d: %x, want %x", u, got, want)
		}
		if got, want := AppendInt64(nil, i), reflective(t, i); !bytes.Equal(got, want) {
			t.Fatalf("signed %d: %x, want %x", i, got, want)
		}
		if got := NewReader(AppendInt64(nil, i)).Int64(); got != i {
			t.Fatalf("read %d, want %d", got, i)
		}
		if got := NewReader(AppendUint64(nil, u)).Uint64(); got != u {
			t.Fatalf("read %d, want %d", got, u)
		}
	})
}

func TestAppendReflective(t *testing.T) {
	type inner struct{ A, B string }
	v := map[string]any{"x": inner{"1", "2"}, "y": []any{int64(1), nil, true}, "a": map[string]string{"k": "v"}}
	want := reflective(t, v)
	for _, b := range [][]byte{nil, []byte("p"), append(make([]byte, 0, 4096), "p"...), append(make([]byte, 0, 20), "p"...)} {
		got, err := Append(b, v)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, append(b[:len(b):len(b)], want...)) {
			t.Errorf("behind %d of %d bytes: %x, want %x", len(b), cap(b), got, want)
		}
	}
	odd := time.Unix(1, 0).In(time.FixedZone("", -60)) // has no binary form
	if got, err := Append([]byte("p"), map[string]any{"t": odd}); err == nil || string(got) != "p" {
		t.Errorf("a time without a binary form: %x, %v", got, err)
	}
	if got, err := Append([]byte("p"), odd); err == nil || string(got) != "p" {
		t.Errorf("the same alone: %x, %v", got, err)
	}
	if got := NewReader(AppendTime(nil, odd)).Time(); !got.Equal(odd) {
		t.Errorf("the same by hand: %v", got)
	}
	if got, err := Append(nil, v); err != nil || !bytes.Equal(got, want) {
		t.Errorf("after an error: %x, %v", got, err)
	}
	if got, err := Marshal((*row)(nil)); err != nil || !bytes.Equal(got, []byte{codeNil}) {
		t.Errorf("nil pointer to an Appender: %x, %v", got, err)
	}
}

func TestReaderTakesEveryForm(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   string
		read func(*Reader) any
		want any
	}{
		{"str8", "\xd9\x02hi", func(r *Reader) any { return r.String() }, "hi"},
		{"str16", "\xda\x00\x02hi", func(r *Reader) any { return r.String() }, "hi"},
		{"str32", "\xdb\x00\x00\x00\x02hi", func(r *Reader) any { return r.String() }, "hi"},
		{"bin8", "\xc4\x02hi", func(r *Reader) any { return string(r.Bytes()) }, "hi"},
		{"bin16 as text", "\xc5\x00\x02hi", func(r *Reader) any { return r.String() }, "hi"},
		{"bin32", "\xc6\x00\x00\x00\x02hi", func(r *Reader) any { return string(r.Bytes()) }, "hi"},
		{"nil text", "\xc0", func(r *Reader) any { return r.String() }, ""},
		{"nil bytes", "\xc0", func(r *Reader) any { return r.Bytes() == nil }, true},
		{"no bytes", "\xa0", func(r *Reader) any { return r.Bytes() != nil }, true},
		{"nil map", "\xc0", func(r *Reader) any { return r.MapHeader() }, 0},
		{"nil array", "\xc0", func(r *Reader) any { return r.ArrayHeader() }, 0},
		{"nil number", "\xc0", func(r *Reader) any { return r.Uint64() }, uint64(0)},
		{"nil time", "\xc0", func(r *Reader) any { return r.Time().IsZero() }, true},
		{"int8 unsigned", "\xd0\x05", func(r *Reader) any { return r.Uint64() }, uint64(5)},
		{"uint8 signed", "\xcc\xff", func(r *Reader) any { return r.Int64() }, int64(255)},
		{"int8 negative", "\xd0\x80", func(r *Reader) any { return r.Int64() }, int64(-128)},
		{"int16", "\xd1\xff\x00", func(r *Reader) any { return r.Int64() }, int64(-256)},
		{"int32", "\xd2\x80\x00\x00\x00", func(r *Reader) any { return r.Int64() }, int64(math.MinInt32)},
		{"int64", "\xd3\x80\x00\x00\x00\x00\x00\x00\x00", func(r *Reader) any { return r.Int64() }, int64(math.MinInt64)},
		{"uint64", "\xcf\xff\xff\xff\xff\xff\xff\xff\xff", func(r *Reader) any { return r.Uint64() }, uint64(math.MaxUint64)},
		{"int as float", "\x07", func(r *Reader) any { return r.Float64() }, 7.0},
		{"float32", "\xca\x3f\x80\x00\x00", func(r *Reader) any { return r.Float64() }, 1.0},
		{"one as bool", "\x01", func(r *Reader) any { return r.Bool() }, true},
		{"map16", "\xde\x00\x01\x01\x02", func(r *Reader) any { n := r.MapHeader(); r.Skip(); r.Skip(); return n }, 1},
		{"array32", "\xdd\x00\x00\x00\x01\x01", func(r *Reader) any { n := r.ArrayHeader(); r.Skip(); return n }, 1},
		{"ext skipped", "\xd6\xff\x00\x00\x00\x00\x05", func(r *Reader) any { r.Skip(); return r.Int64() }, int64(5)},
		{"try nil", "\xc0\x05", func(r *Reader) any { return r.TryNil() && !r.TryNil() && r.Int() == 5 }, true},
	} {
		r := NewReader([]byte(tc.in))
		if got := tc.read(r); got != tc.want || r.Err() != nil || r.More() {
			t.Errorf("%s: %v (error %v, read %d of %d), want %v", tc.name, got, r.Err(), r.Offset(), len(tc.in), tc.want)
		}
	}
}

func TestReaderRefuses(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   string
		read func(*Reader)
	}{
		{"text of 4 GiB", "\xdb\xff\xff\xff\xffx", func(r *Reader) { _ = r.String() }},
		{"array of 4 G elements", "\xdd\xff\xff\xff\xff\x01", func(r *Reader) { r.ArrayHeader() }},
		{"map of 2 pairs in 3 bytes", "\x82\x01\x01\x01", func(r *Reader) { r.MapHeader() }},
		{"negative as unsigned", "\xff", func(r *Reader) { r.Uint64() }},
		{"too wide as signed", "\xcf\xff\xff\xff\xff\xff\xff\xff\xff", func(r *Reader) { r.Int64() }},
		{"map as text", "\x80", func(r *Reader) { _ = r.String() }},
		{"text as number", "\xa1x", func(r *Reader) { r.Int64() }},
		{"number as bool", "\x02", func(r *Reader) { r.Bool() }},
		{"unused byte", "\xc1", func(r *Reader) { r.Skip() }},
		{"nothing", "", func(r *Reader) { r.Int64() }},
		{"half a number", "\xcf\x00", func(r *Reader) { r.Uint64() }},
		{"text as time", "\xa3abc", func(r *Reader) { r.Time() }},
		{"too deep", string(bytes.Repeat([]byte{0x91}, MaxDepth+1)) + "\x01", func(r *Reader) { r.Skip() }},
	} {
		r := NewReader([]byte(tc.in))
		tc.read(r)
		if r.Err() == nil {
			t.Errorf("%s: no error", tc.name)
		}
		if r.Int64() != 0 || r.String() != "" || r.More() || r.MapHeader() != 0 {
			t.Errorf("%s: values after the fault", tc.name)
		}
	}
}

func TestUnmarshalRefusesInflation(t *testing.T) {
	type big struct{ F [64]uint64 }
	huge := AppendArrayHeader(nil, 1<<20)
	huge = append(huge, bytes.Repeat([]byte{codeFixMap}, 1<<20)...)
	var out []big
	if err := Unmarshal(huge, &out); err != ErrHeavy {
		t.Fatalf("a MiB of empty structs: %v", err)
	}
	names := make([]string, 1<<17)
	for i := range names {
		names[i] = "name"
	}
	var back []string
	if err := Unmarshal(AppendStrings(nil, names), &back); err != nil || len(back) != len(names) {
		t.Fatalf("many names: %d, %v", len(back), err)
	}
}

func TestReaderDoesNotAllocate(t *testing.T) {
	b := (&row{Text: "hello", Count: 9, Meta: map[string]string{"a": "b"}}).AppendMsgpack(nil)
	if n := testing.AllocsPerRun(100, func() {
		var r Reader
		r.Reset(b)
		for n := r.MapHeader(); n > 0; n-- {
			switch string(r.StringKey()) {
			case "Count":
				r.Uint64()
			default:
				r.Skip()
			}
		}
		if r.Err() != nil {
			t.Error(r.Err())
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
