package client

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"sync"

	"github.com/cairn-project/cairn/internal/errs"
)

// fileMetadata keeps what an operator changed of the metadata.
const fileMetadata = "metadata.json"

// The bounds of metadata: they go to the servers with each registration.
const (
	maxMetaKeys  = 512
	maxMetaKey   = 128
	maxMetaValue = 4096
)

var metaKey = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.\-/]*$`)

func validMetaKey(key string) bool { return len(key) <= maxMetaKey && metaKey.MatchString(key) }

func metaKeyProblem(key string) string {
	return fmt.Sprintf("invalid key %q: must be at most %d letters, digits and _ . - /", key, maxMetaKey)
}

// metadata is what operators say of the node: the configuration, and on top of it
// what was changed while the agent ran. It is safe for concurrent use.
type metadata struct {
	dir *stateDir

	mu sync.Mutex
	// static is the configuration. It is replaced, never changed; guarded by mu.
	static map[string]string
	// dynamic overrides static; nil hides a key. It is replaced, never changed;
	// guarded by mu.
	dynamic map[string]*string
}

func loadMetadata(dir *stateDir, static map[string]string) (*metadata, error) {
	m := &metadata{dir: dir, static: static, dynamic: map[string]*string{}}
	b, err := dir.read(fileMetadata)
	if err != nil {
		return nil, fmt.Errorf("reading the node's metadata: %w", err)
	}
	if len(b) == 0 {
		return m, nil
	}
	if m.dynamic, err = parseMetadata(b); err != nil {
		return nil, fmt.Errorf("%s is damaged: restore it, or remove it to go back to the configuration: %w", dir.file(fileMetadata), err)
	}
	return m, nil
}

// parseMetadata reads the file of the changes.
func parseMetadata(b []byte) (map[string]*string, error) {
	out := map[string]*string{}
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, err
	}
	if out == nil {
		return map[string]*string{}, nil
	}
	return out, checkMetadata(out)
}

// checkMetadata refuses what is not to be kept.
func checkMetadata(meta map[string]*string) error {
	var errata []errs.Erratum
	if len(meta) > maxMetaKeys {
		errata = append(errata, errs.Erratum{Msg: fmt.Sprintf("%d keys exceed the limit of %d", len(meta), maxMetaKeys)})
	}
	for key, value := range meta {
		if !validMetaKey(key) {
			errata = append(errata, errs.Erratum{Field: key, Msg: metaKeyProblem(key)})
		}
		if value != nil && len(*value) > maxMetaValue {
			errata = append(errata, errs.Erratum{Field: key, Msg: fmt.Sprintf("the value of %q exceeds %d bytes", key, maxMetaValue)})
		}
	}
	if len(errata) == 0 {
		return nil
	}
	return errs.New(errs.Invalid, "invalid metadata: "+errata[0].Msg).WithErrata(errata...)
}

// merged returns what the servers are told.
func (m *metadata) merged() map[string]string {
	static, dynamic := m.parts()
	out := maps.Clone(static)
	if out == nil {
		out = map[string]string{}
	}
	for key, value := range dynamic {
		if value == nil {
			delete(out, key)
		} else {
			out[key] = *value
		}
	}
	return out
}

// parts returns the configuration and the changes; neither may be changed.
func (m *metadata) parts() (static map[string]string, dynamic map[string]*string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.static, m.dynamic
}

// configure replaces what the configuration says, and reports whether that is
// something else.
func (m *metadata) configure(static map[string]string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	same := maps.Equal(m.static, static)
	m.static = maps.Clone(static)
	return !same
}

// SetMeta replaces the metadata that the configuration gives the node; what was
// changed while the agent ran stays on top of it. The servers hear of it soon.
func (c *Client) SetMeta(static map[string]string) error {
	check := map[string]*string{}
	for key, value := range static {
		check[key] = &value
	}
	if err := checkMetadata(check); err != nil {
		return err
	}
	if c.meta.configure(static) {
		c.register()
	}
	return nil
}

// apply changes keys, nil to hide one that the configuration sets and to forget any
// other. It returns once that is on disk.
func (m *metadata) apply(change map[string]*string) error {
	if err := checkMetadata(change); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	next := maps.Clone(m.dynamic)
	for key, value := range change {
		if _, set := m.static[key]; value == nil && !set {
			delete(next, key)
			continue
		}
		next[key] = value
	}
	if err := checkMetadata(next); err != nil {
		return err
	}
	b, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if err := m.dir.write(fileMetadata, b); err != nil {
		return err
	}
	m.dynamic = next
	return nil
}
