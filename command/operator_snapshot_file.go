package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cairn-project/cairn/nomad/archive"
)

// snapshotInspect tells what is in an archive.
type snapshotInspect struct{}

func (*snapshotInspect) about() about {
	return about{
		synopsis: "show a snapshot file's contents",
		usage:    "[options] <file>",
		text:     "Reads an archive to its end, checks it, and tells where it is from and how much each table has. No agent is asked.",
		examples: [][2]string{
			{"Look at an archive", "cairn operator snapshot inspect backup.snap"},
			{"For a program", "cairn operator snapshot inspect -json backup.snap"},
		},
		min: 1, max: 1, groups: withData, args: anyFile,
	}
}

func (*snapshotInspect) flags(*flags) {}

// tableSize is how much of an archive a table takes.
type tableSize struct {
	Table string
	Rows  int
	Bytes int64
}

func (*snapshotInspect) run(s *session, args []string) error {
	byName := map[string]*tableSize{}
	meta, err := scanFile(args[0], func(r *archive.Record) error {
		t := byName[r.Table]
		if t == nil {
			t = &tableSize{Table: r.Table}
			byName[r.Table] = t
		}
		t.Rows++
		t.Bytes += int64(r.Size)
		return nil
	})
	if err != nil {
		return failed("reading the archive", err)
	}
	out := struct {
		archive.Meta
		Tables []*tableSize
	}{Meta: *meta, Tables: []*tableSize{}}
	for _, t := range byName {
		out.Tables = append(out.Tables, t)
	}
	slices.SortFunc(out.Tables, func(a, b *tableSize) int { return strings.Compare(a.Table, b.Table) })
	return s.show(&out, func() {
		s.pairs(metaPairs(meta)...)
		s.say("")
		t := newTable("Table", "Rows", "Bytes")
		for _, size := range out.Tables {
			t.add(clean(size.Table), fmt.Sprint(size.Rows), fmt.Sprint(size.Bytes))
		}
		s.print(t, "")
	})
}

func scanFile(name string, each func(*archive.Record) error) (*archive.Meta, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return archive.Scan(f, each)
}

// snapshotState prints the rows of an archive.
type snapshotState struct{ secrets bool }

func (*snapshotState) about() about {
	return about{
		synopsis: "dump snapshot as JSON",
		usage:    "[options] <file>",
		text: "Prints the rows of an archive, one JSON object on each line, with the name of its table. Secrets of tokens, nodes, locks and keys are left out unless they are asked for; items of variables are sealed in any case. " +
			"No agent is asked.",
		examples: [][2]string{
			{"Look at all rows", "cairn operator snapshot state backup.snap"},
			{"With the secrets", "cairn operator snapshot state -secrets backup.snap"},
		},
		min: 1, max: 1, args: anyFile,
	}
}

func (c *snapshotState) flags(f *flags) {
	f.boolean(&c.secrets, "secrets", "Print the secrets too.")
}

func (c *snapshotState) run(s *session, args []string) error {
	enc := json.NewEncoder(s.stdout)
	enc.SetEscapeHTML(false)
	_, err := scanFile(args[0], func(r *archive.Record) error {
		row, err := c.shown(r)
		if err != nil {
			return err
		}
		return enc.Encode(struct {
			Table string
			Row   any
		}{r.Table, row})
	})
	if err != nil {
		return failed("reading the archive", err)
	}
	return nil
}

// shown returns the row as it may be seen.
func (c *snapshotState) shown(r *archive.Record) (any, error) {
	if c.secrets || r.Row == nil {
		return r.Row, nil
	}
	b, err := json.Marshal(r.Row)
	if err != nil {
		return nil, err
	}
	var row any
	numbers := json.NewDecoder(bytes.NewReader(b))
	numbers.UseNumber()
	if err := numbers.Decode(&row); err != nil {
		return nil, err
	}
	return withheld(row, ""), nil
}

// withheld replaces what could be used in someone's name.
func withheld(v any, in string) any {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			if secretField(in, k) && inner != nil && inner != "" {
				v[k] = "<withheld>"
			} else {
				v[k] = withheld(inner, k)
			}
		}
	case []any:
		for i := range v {
			v[i] = withheld(v[i], in)
		}
	}
	return v
}

// secretField reports whether a field of an object, itself in the field in, is a secret.
func secretField(in, name string) bool {
	lower := strings.ToLower(name)
	switch lower {
	case "id":
		return in == "Lock" // whoever knows it holds the lock
	case "keyid", "keyids":
		return false
	case "rows":
		return true // what a request wrote may be named by a secret
	}
	for _, part := range []string{"secret", "private", "sealed", "password", "encryptionkey", "rsakey", "hmackey"} {
		if strings.Contains(lower, part) {
			return true
		}
	}
	return false
}
