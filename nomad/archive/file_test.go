package archive

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-project/cairn/internal/errs"
)

// namesIn returns what is in a directory, hidden files too.
func namesIn(t *testing.T, dir string) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestFilesHaveTheirNameWhenTheyAreWhole(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a.snap")
	good := made(t, []byte("state"))
	if _, err := SaveFile(name, bytes.NewReader(good[:len(good)-1])); !errors.Is(err, errs.Invalid) || len(namesIn(t, dir)) != 0 {
		t.Errorf("one that is cut: %v, %v", err, namesIn(t, dir))
	}
	f, err := SaveFile(name, bytes.NewReader(good))
	if err != nil || f.Size != int64(len(good)) || f.Sum != sha256.Sum256(good) || f.Meta.StateIndex != 5 {
		t.Fatalf("%+v, %v", f, err)
	}
	if _, err := SaveFile(name, bytes.NewReader(made(t, []byte("other")))); !errors.Is(err, errs.Conflict) {
		t.Errorf("over one that is there: %v", err)
	}
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, good) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if got := strings.Join(namesIn(t, dir), " "); got != "a.snap" {
		t.Error(got)
	}
	if _, err := SaveFile(filepath.Join(dir, "none", "a"), bytes.NewReader(good)); err == nil {
		t.Error("into a directory that is not there")
	}
}

func TestUnfinishedFilesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".a.snap.1.part", "b.part", ".hidden"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := RemoveUnfinished(dir); err != nil || strings.Join(namesIn(t, dir), " ") != ".hidden b.part" {
		t.Errorf("%v, %v", err, namesIn(t, dir))
	}
}
