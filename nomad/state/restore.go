package state

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/msgp"
	"github.com/cairn-project/cairn/nomad/structs"
)

// maxRowSize bounds one encoded row of a snapshot.
const maxRowSize = 64 << 20

// restorer reads a snapshot into a database.
type restorer struct {
	br    *bufio.Reader
	buf   []byte
	db    *memdb.MemDB
	w     *memdb.Txn // the storer's until it is done
	store *storer
	// take is given each row that was decoded, and how many bytes it took.
	take  func(loaded, int) error
	index uint64
	// restored is that of the header.
	restored uint64
	last     []uint64
	byName   map[string]anyTable
	loaders  map[structs.SnapshotType]loader
	rows     uint64
	// requests is filled by the records of their type.
	requests *requestWindow
	// own takes the place of what the snapshot says of the cluster, which replaced is
	// then; nil leaves that.
	own, replaced *structs.ClusterMetadata
}

func newRestorer(r io.Reader) *restorer {
	re := &restorer{
		br: bufio.NewReaderSize(r, 256<<10), db: newDB(), last: make([]uint64, len(registry)),
		byName: make(map[string]anyTable), loaders: make(map[structs.SnapshotType]loader),
		requests: newRequestWindow(),
	}
	for _, t := range persisted() {
		re.byName[t.describe().Name] = t
		re.loaders[t.describe().SnapshotType] = t.loader()
	}
	// One transaction for all: while nothing is committed go-memdb has nobody to wake.
	re.w = re.db.Txn(true)
	return re
}

// Restore replaces the content by that of a snapshot, which is read to its end
// first: on an error the old content stays. Watchers wake and AbandonCh closes;
// no events are published. It belongs to the writing goroutine.
func (s *StateStore) Restore(r io.Reader) error {
	if s.txn != nil {
		panic("state: Restore within Batch")
	}
	re := newRestorer(r)
	if err := re.run(); err != nil {
		return errs.Wrap(errs.Invalid, "the snapshot cannot be restored: "+err.Error(), err)
	}
	close(s.core.replace(re).abandon)
	s.core.log.Info("restored a snapshot", "index", re.index, "rows", re.rows)
	return nil
}

func (re *restorer) run() error {
	re.store = startStorer(re.w)
	re.take = re.store.add
	err := re.read()
	// A row that could not be stored came before whatever ended the reading.
	if failed := re.store.done(); failed != nil {
		return failed
	}
	if err == nil {
		err = re.derive()
	}
	if err != nil {
		return err
	}
	if re.own != nil {
		re.replaced = Cluster.get(&Snapshot{txn: re.w.Snapshot()}, nil, Key{ID: "cluster"})
		impossible(re.w.Insert(Cluster.info.Name, re.own))
	}
	re.w.Commit()
	return nil
}

// read reads all records and hands the rows to the storer.
func (re *restorer) read() error {
	if err := re.header(); err != nil {
		return err
	}
	for {
		done, err := re.record()
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("it was cut after record %d: %w", re.rows, err)
		}
		if err != nil {
			return fmt.Errorf("record %d: %w", re.rows+1, err)
		}
		if done {
			return nil
		}
		re.rows++
	}
}

func (re *restorer) header() error {
	var header snapshotHeader
	if err := re.value(&header); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	if header.Version != snapshotVersion {
		return fmt.Errorf("its format has version %d, this server reads version %d", header.Version, snapshotVersion)
	}
	re.index, re.restored = header.Index, header.Restored
	return nil
}

// next reads one value into re.buf.
func (re *restorer) next() error {
	var err error
	re.buf, _, err = msgp.ReadValue(re.br, re.buf[:0], maxRowSize)
	return cut(err)
}

// cut makes the end of the input, where more is due, an error of its own.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (re *restorer) value(v any) error {
	if err := re.next(); err != nil {
		return err
	}
	return msgp.Unmarshal(re.buf, v)
}

// record reads one record; done means that it was the last.
func (re *restorer) record() (done bool, err error) {
	b, err := re.br.ReadByte()
	if err != nil {
		return false, cut(err)
	}
	st := structs.SnapshotType(b)
	switch st {
	case structs.IndexSnapshot:
		return false, re.indexRow()
	case structs.RequestSnapshot:
		var r structs.RequestRecord
		if err := re.value(&r); err != nil {
			return false, err
		}
		return false, re.requests.restore(&r)
	case snapshotEnd:
		return true, re.end()
	}
	if err := re.next(); err != nil {
		return false, err
	}
	if l := re.loaders[st]; l != nil {
		return false, re.row(l)
	}
	if st&skippable != 0 {
		return false, nil
	}
	return false, fmt.Errorf("rows of type %d are unknown: a newer version wrote them, upgrade this server", st)
}

// row decodes a row and hands it on.
func (re *restorer) row(l loader) error {
	row, err := l.decode(re.buf)
	if err != nil {
		return err
	}
	return re.take(loaded{loader: l, row: row, record: re.rows + 1}, len(re.buf))
}

func (re *restorer) indexRow() error {
	var row indexRow
	if err := re.value(&row); err != nil {
		return err
	}
	if t := re.byName[row.Key]; t != nil {
		re.last[t.describe().at] = row.Value
	}
	return nil
}

func (re *restorer) end() error {
	var trailer snapshotTrailer
	if err := re.value(&trailer); err != nil {
		return err
	}
	if trailer.Rows != re.rows {
		return fmt.Errorf("it was cut: it has %d records of %d", re.rows, trailer.Rows)
	}
	if _, err := re.br.ReadByte(); err == nil {
		return errors.New("bytes follow the last record")
	} else if err != io.EOF {
		return err
	}
	return nil
}

var errNoHome = fmt.Errorf("the namespace %q is missing", structs.DefaultNamespace)

// derive stores what is not in the snapshot.
func (re *restorer) derive() error {
	sn := &Snapshot{txn: re.w.Snapshot()}
	if Namespaces.get(sn, nil, Key{ID: structs.DefaultNamespace}) == nil {
		return errNoHome
	}
	re.restoreNodePools(sn)
	numbers := map[countKey]int{}
	for n := range Nodes.scan(sn, everything, Key{}, false) {
		numbers[countKey{poolNodes, n.NodePool}]++
	}
	for v := range Variables.scan(sn, everything, Key{}, false) {
		numbers[countKey{namespaceVariables, v.Namespace}]++
		if v.KeyID != "" {
			numbers[countKey{keyVariables, strings.ToLower(v.KeyID)}]++
		}
	}
	for k, n := range numbers {
		row := &count{ID: k.id, N: n}
		seal(row)
		impossible(re.w.Insert(k.table.info.Name, row))
	}
	return nil
}
