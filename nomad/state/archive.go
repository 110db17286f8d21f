package state

import (
	"errors"
	"fmt"
	"io"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// otherClusterGap is more than what a cluster writes between two archives.
const otherClusterGap = 1 << 24

// RestoreArchive is Restore for the state of an archive, which may be older than what
// is here, or of another cluster. Its logical index is raised above that of the store,
// and every table counts as changed then, so that no index is ever given twice and
// whoever waits for a change wakes. Requests from before are not taken for first tries.
// The cluster keeps its own ID. Equal stores and archives give equal stores.
//
// Clients of another cluster may have seen more of that than the archive has: the index
// is raised by otherClusterGap then.
func (s *StateStore) RestoreArchive(r io.Reader) error {
	if s.txn != nil {
		panic("state: RestoreArchive within Batch")
	}
	now := s.Snapshot()
	re := newRestorer(r)
	re.own = now.ClusterMetadata(nil)
	if err := re.run(); err != nil {
		return errs.Wrap(errs.Invalid, "the archive cannot be restored: "+err.Error(), err)
	}
	re.index = max(re.index, now.index) + 1
	if re.replaced != nil && re.own != nil && re.replaced.ClusterID != re.own.ClusterID {
		re.index += otherClusterGap
	}
	re.restored, re.requests.floor = re.index, re.index
	for i := range re.last {
		re.last[i] = re.index
	}
	close(s.core.replace(re).abandon)
	s.core.log.Info("restored an archive", "index", re.index, "rows", re.rows)
	return nil
}

// Check reads a snapshot to its end and fails as a restore of it would. It returns the
// root keys, and keeps nothing of the other rows, unless they do not come in the order in
// which Persist writes them: then open gives the snapshot once more.
func Check(open func() (io.Reader, error)) ([]*structs.RootKey, error) {
	c := &checker{}
	err := readOnce(open, func(re *restorer) error {
		re.take = c.take
		if err := re.read(); err != nil || c.hasHome {
			return err
		}
		return errNoHome
	})
	if errors.Is(err, errUnordered) {
		c.keys = nil
		err = readOnce(open, c.load)
	}
	if err != nil {
		return nil, err
	}
	return c.keys, nil
}

// checker looks at the rows of a snapshot.
type checker struct {
	keys []*structs.RootKey
	// hasHome says that the default namespace is there.
	hasHome bool
}

func readOnce(open func() (io.Reader, error), read func(*restorer) error) error {
	r, err := open()
	if err != nil {
		return err
	}
	if err := read(newRestorer(r)); err != nil {
		return errs.Wrap(errs.Invalid, "the state cannot be read: "+err.Error(), err)
	}
	return nil
}

func (c *checker) take(l loaded, _ int) error {
	switch row := l.row.(type) {
	case *structs.RootKey:
		c.keys = append(c.keys, row)
	case *structs.Namespace:
		c.hasHome = c.hasHome || row.Name == structs.DefaultNamespace
	}
	return l.loader.check(l.row)
}

// load reads a snapshot as a restore does.
func (c *checker) load(re *restorer) error {
	if err := re.run(); err != nil {
		return err
	}
	for k := range re.view().RootKeys(nil) {
		c.keys = append(c.keys, k)
	}
	return nil
}

// Record is one record of a snapshot.
type Record struct {
	// Table is the name of the table, "requests" for an outcome that is remembered, and
	// "unknown" for a row that a newer version wrote and that may be left out.
	Table string
	// Row is a pointer to the row, nil for an unknown one.
	Row any
	// Size is in bytes, as it is stored.
	Size int
}

// requestTable names the records that are of no table.
const requestTable = "requests"

// Scan tells each the records of a snapshot, in order, and returns its logical index. It
// keeps none of them.
func Scan(r io.Reader, each func(*Record) error) (index uint64, err error) {
	sc := &scanner{restorer: newRestorer(r), names: map[structs.SnapshotType]string{}}
	for _, t := range persisted() {
		sc.names[t.describe().SnapshotType] = t.describe().Name
	}
	if err := sc.header(); err != nil {
		return 0, errs.Wrap(errs.Invalid, "the state cannot be read: "+err.Error(), err)
	}
	for {
		rec, done, err := sc.scan()
		if err == nil && rec != nil {
			if err := each(rec); err != nil {
				return 0, err
			}
		}
		if err != nil {
			return 0, errs.Wrap(errs.Invalid, fmt.Sprintf("the state cannot be read: record %d: %v", sc.rows+1, err), err)
		}
		if done {
			return sc.index, nil
		}
		sc.rows++
	}
}

// scanner is a restorer that stores nothing.
type scanner struct {
	*restorer
	names map[structs.SnapshotType]string
}

// scan reads one record; it is nil for those that are no rows.
func (sc *scanner) scan() (rec *Record, done bool, err error) {
	b, err := sc.br.ReadByte()
	if err != nil {
		return nil, false, cut(err)
	}
	st := structs.SnapshotType(b)
	switch st {
	case structs.IndexSnapshot:
		return nil, false, sc.indexRow()
	case structs.RequestSnapshot:
		row := &structs.RequestRecord{}
		err := sc.value(row)
		return &Record{Table: requestTable, Row: row, Size: len(sc.buf)}, false, err
	case snapshotEnd:
		return nil, true, sc.end()
	}
	if err := sc.next(); err != nil {
		return nil, false, err
	}
	if l := sc.loaders[st]; l != nil {
		row, err := l.decode(sc.buf)
		return &Record{Table: sc.names[st], Row: row, Size: len(sc.buf)}, false, err
	}
	if st&skippable != 0 {
		return &Record{Table: "unknown", Size: len(sc.buf)}, false, nil
	}
	return nil, false, fmt.Errorf("rows of type %d are unknown: a newer version wrote them, upgrade this program", st)
}
