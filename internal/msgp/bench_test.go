package msgp

import (
	"testing"
	"time"
)

var sample = &row{
	Text: "app/config/database", Blob: make([]byte, 256), Count: 123456, Delta: -5, On: true,
	Wait: time.Minute, At: time.Unix(1e9, 5).UTC(), Meta: map[string]string{"team": "core", "env": "prod"},
	Names: []string{"one", "two", "three"},
}

func BenchmarkAppend(b *testing.B) {
	for name, v := range map[string]any{"hand": sample, "reflect": (*plainRow)(sample)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var buf []byte
			for b.Loop() {
				var err error
				if buf, err = Append(buf[:0], v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkUnmarshal(b *testing.B) {
	data := sample.AppendMsgpack(nil)
	for name, fresh := range map[string]func() any{
		"hand":    func() any { return new(row) },
		"reflect": func() any { return new(plainRow) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := Unmarshal(data, fresh()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("scan", func(b *testing.B) {
		for b.Loop() {
			if _, err := Scan(data); err != nil {
				b.Fatal(err)
			}
		}
	})
}
