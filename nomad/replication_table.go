package nomad

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"maps"
	"slices"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// fetchBatch is how many rows are asked for at once, putBytes about how much of
	// them enters the log at once, dropBatch how many are deleted at once.
	fetchBatch = 64
	putBytes   = 256 << 10
	dropBatch  = 256
)

// copied is a table that the authoritative region owns and the others copy.
type copied[T any] struct {
	table string
	// list asks for what there is; it may block. fetch asks for whole rows, nil if
	// list has them already.
	list  func(context.Context, *Server, structs.QueryOptions) (map[string]listed[T], uint64, error)
	fetch func(context.Context, *Server, structs.QueryOptions, []string) (map[string]*T, error)
	// local yields the rows here that the table there stands for.
	local func(*state.Snapshot) iter.Seq[*T]
	id    func(*T) string
	// digest returns the digest that lists have of a row, nil if they have none.
	digest func(*T) []byte
	// bare takes out of a copy what may differ between regions, such as indexes.
	bare func(*T) *T
	// remade reports whether a row of the same ID is another object, so that the old
	// one has to go first; nil for never.
	remade func(here, there *T) bool
	// fixed reports whether every region makes a row for itself, nil for none.
	fixed func(id string) bool
	// put and drop make the entries of the log.
	put  func([]*T) (structs.MessageType, any)
	drop func([]string) (structs.MessageType, any)
}

// listed is what a list tells of a row.
type listed[T any] struct {
	hash     []byte
	modified uint64
	row      *T // nil for a list of stubs
}

func (c *copied[T]) name() string { return c.table }

// round waits, if it may, until something changed there since the last round, brings this region in step, and returns the new index. Nothing is deleted
// here on the word of one answer, nor of a server that may be behind.
func (c *copied[T]) round(ctx context.Context, p *puller, at cursor) (uint64, error) {
	since := at.index
	there, index, err := c.read(ctx, p, p.watch(at))
	if err != nil {
		return since, err
	}
	behind := since
	if index < since {
		behind = 0 // the other region was set back: compare everything
	}
	here := c.here(p.srv.state.Snapshot())
	gone, err := c.gone(ctx, p, here, there, index)
	if err != nil {
		return since, err
	}
	rows, err := c.rows(ctx, p, there, c.suspects(here, there, behind))
	if err != nil {
		return since, err
	}
	var changed []*T
	for _, row := range rows {
		old := here[c.id(row)]
		if old != nil && c.same(old, row) {
			continue
		}
		if old != nil && c.remade != nil && c.remade(old, row) {
			gone = append(gone, c.id(row))
		}
		changed = append(changed, row)
	}
	if err := errors.Join(c.dropAll(ctx, p, gone), c.putAll(ctx, p, changed)); err != nil {
		return since, err
	}
	return index, nil
}

// read lists the rows there, and makes sure that the answer hides none.
func (c *copied[T]) read(ctx context.Context, p *puller, q structs.QueryOptions) (map[string]listed[T], uint64, error) {
	ctx, cancel := p.bound(ctx)
	defer cancel()
	if err := p.pace(ctx); err != nil {
		return nil, 0, err
	}
	there, index, err := c.list(ctx, p.srv, q)
	if err == nil || errors.Is(err, errs.PermissionDenied) {
		if why := p.mayReadAll(ctx); why != nil {
			err = why
		}
	}
	if err == nil && index == 0 {
		err = errs.New(errs.Internal, "the list has no index")
	}
	if err == nil {
		err = p.sameCluster(ctx)
	}
	return there, index, err
}

func (c *copied[T]) here(sn *state.Snapshot) map[string]*T {
	out := map[string]*T{}
	for row := range c.local(sn) {
		if id := c.id(row); c.fixed == nil || !c.fixed(id) {
			out[id] = row
		}
	}
	return out
}

// gone returns the rows here that are no longer there, by two lists, the second of
// which is the leader's own.
func (c *copied[T]) gone(ctx context.Context, p *puller, here map[string]*T, there map[string]listed[T], index uint64) ([]string, error) {
	absent := func(list map[string]listed[T]) []string {
		return slices.DeleteFunc(slices.Sorted(maps.Keys(here)), func(id string) bool { _, ok := list[id]; return ok })
	}
	ids := absent(there)
	if len(ids) == 0 {
		return nil, nil
	}
	again, confirmed, err := c.read(ctx, p, p.options())
	if err != nil {
		return nil, err
	}
	if confirmed < index {
		return nil, errs.Newf(errs.Conflict, "the leader is at index %d, behind the %d of an earlier answer: nothing is deleted", confirmed, index)
	}
	still := absent(again)
	return slices.DeleteFunc(ids, func(id string) bool { return !slices.Contains(still, id) }), nil
}

// suspects returns what may differ here, in order of ID.
func (c *copied[T]) suspects(here map[string]*T, there map[string]listed[T], since uint64) []string {
	var out []string
	for _, id := range slices.Sorted(maps.Keys(there)) {
		if c.fixed != nil && c.fixed(id) {
			continue
		}
		l, old := there[id], here[id]
		if old == nil || since == 0 || l.modified > since || c.digest != nil && !bytes.Equal(l.hash, c.digest(old)) {
			out = append(out, id)
		}
	}
	return out
}

// rows returns whole rows; those that are gone meanwhile are left out.
func (c *copied[T]) rows(ctx context.Context, p *puller, there map[string]listed[T], ids []string) ([]*T, error) {
	var out []*T
	if c.fetch == nil {
		for _, id := range ids {
			out = append(out, there[id].row)
		}
		return out, nil
	}
	for batch := range slices.Chunk(ids, fetchBatch) {
		rows, err := c.some(ctx, p, batch)
		if err != nil {
			return nil, err
		}
		out = append(out, rows...)
	}
	return out, nil
}

// some fetches a batch, in halves if it is too large for one answer.
func (c *copied[T]) some(ctx context.Context, p *puller, ids []string) ([]*T, error) {
	bound, cancel := p.bound(ctx)
	defer cancel()
	if err := p.pace(bound); err != nil {
		return nil, err
	}
	found, err := c.fetch(bound, p.srv, p.options(), ids)
	if errors.Is(err, errs.TooLarge) && len(ids) > 1 {
		first, err := c.some(ctx, p, ids[:len(ids)/2])
		if err != nil {
			return nil, err
		}
		second, err := c.some(ctx, p, ids[len(ids)/2:])
		return append(first, second...), err
	}
	if err != nil {
		return nil, err
	}
	var out []*T
	for _, id := range ids {
		if found[id] != nil {
			out = append(out, found[id])
		}
	}
	return out, nil
}

// same reports whether two rows differ only in what may differ.
func (c *copied[T]) same(a, b *T) bool {
	x, errX := structs.Encode(0, c.bare(a))
	y, errY := structs.Encode(0, c.bare(b))
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
