package structs

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-msgpack/v2/codec"
	"pgregory.net/rapid"

	"github.com/cairn-project/cairn/internal/msgp"
)

// shadow copies v, a pointer to a struct, into one of the same fields that has
// no methods of its own, so that only reflection can encode it.
type (
	shadowMetadata  VariableMetadata
	shadowEncrypted struct {
		shadowMetadata
		VariableData
	}
	shadowDecrypted struct {
		shadowMetadata
		Items VariableItems
	}
	shadowRequest struct {
		Op  VarOp
		Var *shadowEncrypted
		WriteRequest
	}
)

func genLock(t *rapid.T) *VariableLock {
	if rapid.Bool().Draw(t, "unlocked") {
		return nil
	}
	l := rapid.Make[VariableLock]().Draw(t, "lock")
	return &l
}

func genMetadata(t *rapid.T) VariableMetadata {
	m := rapid.Make[VariableMetadata]().Draw(t, "meta")
	m.Lock = genLock(t)
	return m
}

func genEncrypted(t *rapid.T) VariableEncrypted {
	return VariableEncrypted{genMetadata(t), VariableData{
		Data:  rapid.SampledFrom([][]byte{nil, {}, {1}, make([]byte, 300), make([]byte, 70000)}).Draw(t, "data"),
		KeyID: rapid.String().Draw(t, "key"),
	}}
}

func genDecrypted(t *rapid.T) VariableDecrypted {
	items := VariableItems(nil)
	switch rapid.IntRange(0, 2).Draw(t, "items") {
	case 1:
		items = VariableItems{}
	case 2: // one key, as the reflective codec writes maps in any order
		items = VariableItems{rapid.String().Draw(t, "k"): rapid.String().Draw(t, "v")}
	}
	return VariableDecrypted{genMetadata(t), items}
}

func shadowOf(v *VariableEncrypted) *shadowEncrypted {
	return &shadowEncrypted{shadowMetadata(v.VariableMetadata), v.VariableData}
}

func reflective(t *rapid.T, v any) []byte {
	var out []byte
	if err := codec.NewEncoderBytes(&out, msgp.Handle()).Encode(v); err != nil {
		t.Fatal(err)
	}
	return out
}

// agree checks that v encodes as its shadow does and that what the reflective
// codec wrote reads back as v, whether or not fields unknown to v surround it.
func agree[T any](t *rapid.T, v *T, shadow any) {
	want := reflective(t, shadow)
	got, err := msgp.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%T encodes as\n%q, the reflective codec as\n%q", v, got, want)
	}
	back := new(T)
	if err := msgp.Unmarshal(want, back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(v, back); diff != "" {
		t.Fatal(diff)
	}
	again := reflect.New(reflect.TypeOf(shadow).Elem()).Interface()
	if err := codec.NewDecoderBytes(got, msgp.Handle()).Decode(again); err != nil {
		t.Fatal(err)
	}
	if second := reflective(t, again); !bytes.Equal(second, want) {
		t.Fatalf("%T read by reflection encodes as\n%q, want\n%q", v, second, want)
	}
	var loose map[string]any
	if err := codec.NewDecoderBytes(got, msgp.Handle()).Decode(&loose); err != nil {
		t.Fatal(err)
	}
	loose["Added"] = map[string]any{"Nested": []int{1, 2}}
	loose["Zulu"] = "later"
	if err := msgp.Unmarshal(reflective(t, loose), back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(v, back); diff != "" {
		t.Fatal("unknown fields change the result:", diff)
	}
}

func TestVariableCodecAgreesWithReflection(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := genMetadata(t)
		agree(t, &m, (*shadowMetadata)(&m))
		e := genEncrypted(t)
		agree(t, &e, shadowOf(&e))
		d := genDecrypted(t)
		agree(t, &d, &shadowDecrypted{shadowMetadata(d.VariableMetadata), d.Items})
		q := VarApplyStateRequest{Op: rapid.SampledFrom([]VarOp{VarOpSet, VarOpCAS, VarOpDelete, VarOpDeleteCAS,
			VarOpLockAcquire, VarOpLockRelease, "other"}).Draw(t, "op")}
		q.WriteRequest = rapid.Make[WriteRequest]().Draw(t, "write")
		s := shadowRequest{Op: q.Op, WriteRequest: q.WriteRequest}
		if rapid.Bool().Draw(t, "var") {
			q.Var, s.Var = &e, shadowOf(&e)
		}
		agree(t, &q, &s)
	})
}

func TestVariableItemsEncodeInOrder(t *testing.T) {
	v := &VariableDecrypted{Items: VariableItems{}}
	for _, k := range []string{"c", "a", "d", "b", "e", "f"} {
		v.Items[k] = k
	}
	first, _ := msgp.Marshal(v)
	for range 20 {
		if again, _ := msgp.Marshal(v); !bytes.Equal(first, again) {
			t.Fatal("equal variables encode differently")
		}
	}
}

func TestVariableCodecKeepsNoBuffer(t *testing.T) {
	q := &VarApplyStateRequest{Op: "odd", Var: &VariableEncrypted{
		VariableMetadata{Namespace: "ns", Path: "p", Lock: &VariableLock{ID: "l"}}, VariableData{[]byte("data"), "key"}}}
	b, _ := msgp.Marshal(q)
	got := new(VarApplyStateRequest)
	if err := msgp.Unmarshal(b, got); err != nil {
		t.Fatal(err)
	}
	clear(b)
	if diff := cmp.Diff(q, got); diff != "" {
		t.Fatal("the value shares memory with its encoding:", diff)
	}
}

func FuzzVariableCodec(f *testing.F) {
	for _, v := range []any{&VarApplyStateRequest{Var: &VariableEncrypted{}}, &VariableDecrypted{Items: VariableItems{"a": "b"}},
		&VariableMetadata{Lock: &VariableLock{}}} {
		b, _ := msgp.Marshal(v)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, v := range []any{&VarApplyStateRequest{}, &VariableDecrypted{}, &VariableEncrypted{}, &VariableMetadata{}} {
			if msgp.Unmarshal(b, v) != nil {
				continue
			}
			first, err := msgp.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			back := reflect.New(reflect.TypeOf(v).Elem()).Interface()
			if err := msgp.Unmarshal(first, back); err != nil {
				t.Fatalf("%T does not read its own encoding: %v", v, err)
			}
			if diff := cmp.Diff(v, back); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

func BenchmarkVarApplyStateRequest(b *testing.B) {
	q := &VarApplyStateRequest{Op: VarOpSet, Var: &VariableEncrypted{
		VariableMetadata{Namespace: "default", Path: "app/db-000123", ModifyTime: 1 << 60},
		VariableData{make([]byte, 300), "9f1c7a52-38f5-4fd8-9f0a-0f3a7a3a2a11"}}}
	enc, _ := msgp.Marshal(q)
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		buf := make([]byte, 0, 1024)
		for b.Loop() {
			buf = q.AppendMsgpack(buf[:0])
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := msgp.Unmarshal(enc, new(VarApplyStateRequest)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
