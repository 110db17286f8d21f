package command

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"maps"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/nomad/archive"
	"github.com/cairn-project/cairn/nomad/state"
)

// saveSnapshot gives an archive of an empty store, and keeps the variables of the model
// beside it.
func (m *model) saveSnapshot(w http.ResponseWriter, _ *http.Request) {
	store := state.New(hclog.NewNullLogger(), nil)
	var out bytes.Buffer
	meta := archive.Meta{StateIndex: m.index, Created: time.Now(), Region: "global", Program: "cairn"}
	_, err := archive.Write(&out, meta, func(w io.Writer) error {
		if _, err := w.Write(archive.AppendHead(nil, 1)); err != nil {
			return err
		}
		return store.Snapshot().Persist(w)
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	m.saved = maps.Clone(m.variables)
	sum := sha256.Sum256(out.Bytes())
	w.Header().Set("Digest", "sha-256="+base64.StdEncoding.EncodeToString(sum[:]))
	_, _ = w.Write(out.Bytes())
}

func (m *model) restoreSnapshot(w http.ResponseWriter, r *http.Request) {
	meta, err := archive.Verify(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	before := m.index
	m.index++
	m.variables = maps.Clone(m.saved)
	answer(w, map[string]uint64{"Index": m.index, "Before": before, "ArchiveIndex": meta.StateIndex})
}
