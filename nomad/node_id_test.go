package nomad

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/errs"
)

func TestNodeIDIsKeptAndNeverReplaced(t *testing.T) {
	dir := t.TempDir()
	id := func() (string, error) {
		s := &Server{config: &Config{DataDir: dir}}
		err := s.setupNodeID(hclog.NewNullLogger())
		return s.nodeID, err
	}
	first, err := id()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := id(); err != nil || again != first {
		t.Fatalf("then %q, %v, first %q", again, err, first)
	}
	path := filepath.Join(dir, "node-id")
	if err := os.WriteFile(path, []byte("half an"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := id(); !errors.Is(err, errs.Invalid) {
		t.Fatalf("a damaged ID gave %v", err)
	}
	// A link to itself exists and cannot be read, by nobody.
	if err := errors.Join(os.Remove(path), os.Symlink(path, path)); err != nil {
		t.Fatal(err)
	}
	if got, err := id(); !errors.Is(err, errs.Invalid) {
		t.Fatalf("an ID that cannot be read was replaced by %q, %v", got, err)
	}
}
