package state

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/msgp"
	"github.com/cairn-project/cairn/nomad/structs"
)

// maxRowSize bounds one encoded row of a snapshot.
const maxRowSize = 64 << 20

// loader collects the rows of one table. Its table's rows may come in any order.
type loader interface {
	// row decodes and keeps one row; the bytes are the caller's again afterwards.
	row(b []byte) error
	// finish sorts and checks the rows and hands the table over.
	finish(sn *Snapshot) error
}

type rowLoader[T any] struct {
	table  *Table[T]
	rows   []*T
	last   Key
	sorted bool
	intern interner
}

func (t *Table[T]) loader() loader { return &rowLoader[T]{table: t, sorted: true} }

func (l *rowLoader[T]) row(b []byte) error {
	row := new(T)
	if err := msgp.Unmarshal(b, row); err != nil {
		return err
	}
	l.intern.row(row)
	k := l.table.key(row)
	if len(l.rows) > 0 && l.last.compare(k) >= 0 {
		l.sorted = false
	}
	l.last = k
	l.rows = append(l.rows, row)
	return nil
}

func (l *rowLoader[T]) finish(sn *Snapshot) error {
	key := l.table.key
	if !l.sorted {
		slices.SortFunc(l.rows, func(a, b *T) int { return key(a).compare(key(b)) })
		for i := 1; i < len(l.rows); i++ {
			if k := key(l.rows[i]); k == key(l.rows[i-1]) {
				return fmt.Errorf("table %q has two rows of the key %q", l.table.info.Name, k)
			}
		}
	}
	content := l.table.empty().(*rows[T])
	var partial []*T
	for _, row := range l.rows {
		seal(row)
		if l.table.where != nil && l.table.where(row) {
			partial = append(partial, row)
		}
	}
	content.all.load(l.rows)
	content.partial.load(partial)
	sn.tables[l.table.at] = content
	l.rows = nil
	return nil
}

// interner makes rows that follow each other share the text they have in common.
type interner struct {
	namespace, keyID string
}

func (n *interner) row(row any) {
	v, ok := row.(*structs.VariableEncrypted)
	if !ok {
		return
	}
	if v.Namespace != n.namespace {
		n.namespace = v.Namespace
	}
	if v.KeyID != n.keyID {
		n.keyID = v.KeyID
	}
	v.Namespace, v.KeyID = n.namespace, n.keyID
}

// restorer reads a snapshot into one view.
type restorer struct {
	br      *bufio.Reader
	buf     []byte
	sn      *Snapshot
	byName  map[string]anyTable
	loaders map[structs.SnapshotType]loader
	rows    uint64
}

// Restore replaces the content by that of a snapshot, which is read to its end
// first: on an error the old content stays. Watchers wake and AbandonCh closes;
// no events are published. It belongs to the writing goroutine.
func (s *StateStore) Restore(r io.Reader) error {
	if s.txn != nil {
		panic("state: Restore within Batch")
	}
	re := &restorer{
		br: bufio.NewReaderSize(r, 256<<10), sn: emptySnapshot(s.core),
		byName: make(map[string]anyTable), loaders: make(map[structs.SnapshotType]loader),
	}
	for _, t := range persisted() {
		re.byName[t.describe().Name] = t
		re.loaders[t.describe().SnapshotType] = t.loader()
	}
	if err := re.run(); err != nil {
		return errs.Wrap(errs.Invalid, "the snapshot cannot be restored: "+err.Error(), err)
	}
	s.core.current.Store(re.sn)
	ch := make(chan struct{})
	close(*s.core.abandon.Swap(&ch))
	s.core.hub.all()
	s.core.log.Info("restored a snapshot", "index", re.sn.index, "rows", re.rows)
	return nil
}

func (re *restorer) run() error {
	var header snapshotHeader
	if err := re.value(&header); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	if header.Version != snapshotVersion {
		return fmt.Errorf("its format has version %d, this server reads version %d", header.Version, snapshotVersion)
	}
	re.sn.index = header.Index
	for {
		done, err := re.record()
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("it was cut after record %d: %w", re.rows, err)
		}
		if err != nil {
			return fmt.Errorf("record %d: %w", re.rows+1, err)
		}
		if done {
			break
		}
		re.rows++
	}
	for _, t := range persisted() {
		if err := re.loaders[t.describe().SnapshotType].finish(re.sn); err != nil {
			return err
		}
	}
	return re.derive()
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
	case snapshotEnd:
		return true, re.end()
	}
	if err := re.next(); err != nil {
		return false, err
	}
	if l := re.loaders[st]; l != nil {
		return false, l.row(re.buf)
	}
	if st&skippable != 0 {
		return false, nil
	}
	return false, fmt.Errorf("rows of type %d are unknown: a newer version wrote them, upgrade this server", st)
}

func (re *restorer) indexRow() error {
	var row indexRow
	if err := re.value(&row); err != nil {
		return err
	}
	if t := re.byName[row.Key]; t != nil {
		re.sn.last[t.describe().at] = row.Value
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

// derive rebuilds what is not in the snapshot.
func (re *restorer) derive() error {
	numbers := map[countKey]int{}
	for v := range Variables.in(re.sn).all.ascend(Key{}) {
		numbers[countKey{namespaceVariables, v.Namespace}]++
		if v.KeyID != "" {
			numbers[countKey{keyVariables, strings.ToLower(v.KeyID)}]++
		}
	}
	if Namespaces.in(re.sn).all.get(Key{ID: structs.DefaultNamespace}) == nil {
		return fmt.Errorf("the namespace %q is missing", structs.DefaultNamespace)
	}
	tx := &Txn{tables: re.sn.tables, dirty: make([]bool, len(re.sn.tables)), owner: 0}
	for k, n := range numbers {
		k.table.set(tx, &count{ID: k.id, N: n})
	}
	return nil
}
