package agent

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jsonrpc"
	"github.com/cairn-project/cairn/nomad/archive"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// madeName is the file that tells which archives of the directory were made here.
	madeName = ".made.json"
	// maxShown is how many files of it are shown.
	maxShown = 200
)

// archiveName is what a file there may be called: it hides nothing and leads nowhere.
var archiveName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

// archiveDir is where an agent keeps archives of the state. What others put there stays.
type archiveDir string

// archives returns the directory of this agent.
func (c *Config) archives() (archiveDir, error) {
	parent := cmp.Or(c.DataDir, c.ownDataDir())
	if parent == "" {
		return "", errs.New(errs.PreconditionFailed, "this agent has no data directory, as in dev mode: start it with data_dir, or use `cairn operator snapshot save` and `restore` with a file of your own")
	}
	dir, err := filepath.Abs(parent)
	return archiveDir(filepath.Join(dir, "archives")), err
}

// path returns where the archive of a name is.
func (d archiveDir) path(name string) (string, error) {
	if !archiveName.MatchString(name) {
		return "", jsonrpc.InvalidParams("/name", "must be the name of a file without a directory: up to 128 letters, digits, points, dashes and underscores, no point or dash first")
	}
	return filepath.Join(string(d), name), nil
}

// made is an archive that was made here. A file that is not of this size and time is
// another one by now.
type made struct {
	Name     string
	Size     int64
	Modified time.Time
}

func (m *made) is(info fs.FileInfo) bool {
	return info.Mode().IsRegular() && info.Size() == m.Size && info.ModTime().Equal(m.Modified)
}

// save writes an archive to path.
func (d archiveDir) save(path string, resp *structs.SnapshotSaveResponse, body io.Reader) (*archive.File, error) {
	if err := d.room(resp.Size); err != nil {
		return nil, err
	}
	file, err := archive.SaveFile(path, body)
	if err != nil {
		return nil, onDisk("the archive was not saved", err)
	}
	if got := "sha-256=" + base64.StdEncoding.EncodeToString(file.Sum[:]); got != resp.SnapshotChecksum {
		return nil, errors.Join(errs.New(errs.Internal, "the archive arrived other than it was sent, it was removed: try again"), os.Remove(path))
	}
	return file, nil
}

// prepare makes the directory, and removes what was not finished there.
func (d archiveDir) prepare() error {
	err := os.MkdirAll(string(d), 0o700)
	if err == nil {
		err = archive.RemoveUnfinished(string(d))
	}
	return onDisk("the directory of the archives cannot be used", err)
}

func (d archiveDir) room(size int64) error {
	f, err := os.Open(string(d))
	if err != nil {
		return onDisk("the directory of the archives cannot be used", err)
	}
	defer f.Close()
	return archive.Room(f, size)
}

// prune notes an archive that was made and removes the oldest of those, but for keep of
// them. It returns the names that went.
func (d archiveDir) prune(path string, keep int) (gone []string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	all, err := d.made()
	if err != nil {
		return nil, err
	}
	all = append(all, &made{Name: filepath.Base(path), Size: info.Size(), Modified: info.ModTime()})
	all = slices.DeleteFunc(all, func(m *made) bool { // what is not there as it was made is somebody's
		info, err := os.Lstat(filepath.Join(string(d), m.Name))
		return err != nil || !m.is(info)
	})
	for len(all) > keep {
		if err := os.Remove(filepath.Join(string(d), all[0].Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return gone, errors.Join(err, d.note(all))
		}
		gone = append(gone, all[0].Name)
		all = all[1:]
	}
	return gone, d.note(all)
}

// made returns what was made here, oldest first.
func (d archiveDir) made() ([]*made, error) {
	raw, err := os.ReadFile(filepath.Join(string(d), madeName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []*made
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read, so that it is not known which archives may go: remove it, and those that nobody needs: %w", filepath.Join(string(d), madeName), err)
	}
	return slices.DeleteFunc(out, func(m *made) bool { return m == nil || !archiveName.MatchString(m.Name) }), nil
}

func (d archiveDir) note(all []*made) error {
	raw, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	next := filepath.Join(string(d), madeName+".next")
	if err := os.WriteFile(next, raw, 0o600); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(string(d), madeName))
}

// savedSnapshot is a file of the directory.
type savedSnapshot struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
	// Saved, Index, Cluster and Region are what the archive says; Problem is why it says
	// nothing. Its sums are looked at when it is restored.
	Saved   *time.Time `json:"saved,omitempty"`
	Index   uint64     `json:"index,omitempty"`
	Cluster string     `json:"cluster,omitempty"`
	Region  string     `json:"region,omitempty"`
	Problem string     `json:"problem,omitempty"`
	// Made is true of those that admin_snapshot_save made, and may remove.
	Made bool `json:"made,omitempty"`
	// modified is the time of the file.
	modified time.Time
}

// list returns the newest files, newest first, and how many are there.
func (d archiveDir) list(ctx context.Context) (out []*savedSnapshot, total int, err error) {
	entries, err := os.ReadDir(string(d))
	if errors.Is(err, fs.ErrNotExist) {
		return []*savedSnapshot{}, 0, nil
	}
	if err != nil {
		return nil, 0, onDisk("the directory of the archives cannot be read", err)
	}
	own, _ := d.made() // which a save tells of
	out = []*savedSnapshot{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || !archiveName.MatchString(e.Name()) {
			continue // it went, or is none
		}
		out = append(out, &savedSnapshot{Name: e.Name(), Size: info.Size(), modified: info.ModTime(),
			Made: slices.ContainsFunc(own, func(m *made) bool { return m.Name == e.Name() && m.is(info) })})
	}
	slices.SortFunc(out, func(a, b *savedSnapshot) int {
		return cmp.Or(b.modified.Compare(a.modified), cmp.Compare(a.Name, b.Name))
	})
	total = len(out)
	out = out[:min(total, maxShown)]
	for _, s := range out {
		if ctx.Err() != nil {
			return nil, 0, errs.Gone(ctx.Err())
		}
		s.look(filepath.Join(string(d), s.Name))
	}
	return out, total, nil
}

// look reads what the archive says of itself.
func (s *savedSnapshot) look(path string) {
	f, err := os.Open(path)
	if err == nil {
		defer f.Close()
		var a *archive.Reader
		if a, err = archive.Open(f); err == nil {
			m := &a.Meta
			s.Saved, s.Index, s.Cluster, s.Region = &m.Created, m.StateIndex, m.ClusterID, m.Region
			return
		}
	}
	s.Problem = err.Error()
}

// onDisk gives what the disk says a code; errors that have one keep it.
func onDisk(what string, err error) error {
	var known *errs.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return errs.Newf(errs.PreconditionFailed, "%s: %w", what, err)
}
