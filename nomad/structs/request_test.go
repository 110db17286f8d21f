package structs

import (
	"bytes"
	"testing"
)

func TestTagIsCutAsItWasAppended(t *testing.T) {
	want := RequestTag{ID: RequestID{1, 2, 15: 3}, Time: 1_800_000_000, Base: 1 << 40}
	inner := []byte{byte(NamespaceUpsertRequestType), 0x80}
	tag, rest, err := CutTag(append(AppendTag(nil, &want), inner...))
	if err != nil || tag != want || !bytes.Equal(rest, inner) {
		t.Fatalf("got %+v, %x, %v", tag, rest, err)
	}
	if tag, rest, err := CutTag(inner); err != nil || tag != (RequestTag{}) || !bytes.Equal(rest, inner) {
		t.Fatalf("without a tag: %+v, %x, %v", tag, rest, err)
	}
}

func TestDamagedTagIsRefused(t *testing.T) {
	whole := append(AppendTag(nil, &RequestTag{ID: RequestID{1}, Time: 300, Base: 300}), 64)
	for n := 1; n < len(whole); n++ {
		if _, _, err := CutTag(whole[:n]); err == nil {
			t.Errorf("a tag cut after %d of %d bytes was taken", n, len(whole))
		}
	}
	if _, _, err := CutTag(append(AppendTag(nil, &RequestTag{Time: 1, Base: 1}), 64)); err == nil {
		t.Error("a tag without an ID was taken")
	}
}

func TestBaseIsStampedOnce(t *testing.T) {
	entry := append(AppendTag(nil, &RequestTag{ID: RequestID{1}, Time: 2}), 64, 0x80)
	StampBase(entry, 7)
	StampBase(entry, 9)
	if tag, _, err := CutTag(entry); err != nil || tag.Base != 7 {
		t.Fatalf("got %+v, %v", tag, err)
	}
	plain := []byte{64, 0x80}
	if StampBase(plain, 7); !bytes.Equal(plain, []byte{64, 0x80}) {
		t.Fatal("an entry without a tag was changed")
	}
}

func FuzzCutTag(f *testing.F) {
	f.Add(append(AppendTag(nil, &RequestTag{ID: RequestID{1}, Time: 1, Base: 2}), 64))
	f.Add([]byte{byte(TaggedRequestType)})
	f.Add([]byte{64, 0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		tag, rest, err := CutTag(b)
		if err != nil || tag.ID.IsZero() {
			return
		}
		again, rest2, err := CutTag(append(AppendTag(nil, &tag), rest...))
		if err != nil || again != tag || !bytes.Equal(rest2, rest) {
			t.Fatalf("%+v became %+v, %v", tag, again, err)
		}
	})
}
