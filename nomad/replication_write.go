package nomad

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// rowErrors collects the rows that could not be brought in step. The others must
// not wait for them.
type rowErrors struct {
	rows int
	text []error
}

// maxRowErrors is how many of them are told.
const maxRowErrors = 3

// take notes what the store said of a row, and returns any other error.
func (e *rowErrors) take(id string, err error) error {
	if err == nil || !ofTheRow(err) {
		return err
	}
	if e.rows++; e.rows <= maxRowErrors {
		e.text = append(e.text, fmt.Errorf("%s: %w", id, err))
	}
	return nil
}

func (e *rowErrors) err() error {
	if e.rows == 0 {
		return nil
	}
	return fmt.Errorf("%d rows are not in step: %w", e.rows, errors.Join(e.text...))
}

// ofTheRow reports whether the store refused what was written: another write may
// go well.
func ofTheRow(err error) bool {
	for _, code := range []errs.Code{errs.Invalid, errs.Conflict, errs.NotFound, errs.PreconditionFailed, errs.TooLarge} {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}

// putAll writes rows in batches, and those of a batch that is refused one by one.
func (c *copied[T]) putAll(ctx context.Context, p *puller, rows []*T) error {
	var failed rowErrors
	for len(rows) > 0 {
		n := batchLen(rows)
		batch := rows[:n]
		rows = rows[n:]
		err := enter(ctx, p, c.put, batch)
		if err == nil {
			p.counted(c.table, n, 0)
			continue
		}
		if !ofTheRow(err) {
			return err
		}
		for _, row := range batch {
			if err := failed.take(c.id(row), c.putOne(ctx, p, row)); err != nil {
				return err
			}
		}
	}
	return failed.err()
}

// enter writes one entry of the log.
func enter[R any](ctx context.Context, p *puller, entry func([]R) (structs.MessageType, any), rows []R) error {
	t, msg := entry(rows)
	_, err := p.srv.apply(ctx, t, msg)
	return err
}

// batchLen returns how many of the rows go into one entry, one at least.
func batchLen[T any](rows []*T) int {
	size := 0
	for i, row := range rows {
		b, _ := structs.Encode(0, row) // what cannot be encoded is refused when it is written
		if size += len(b); size > putBytes && i > 0 {
			return i
		}
	}
	return len(rows)
}

// putOne writes one row. Where two objects swapped a name, the one here has to give
// way first.
func (c *copied[T]) putOne(ctx context.Context, p *puller, row *T) error {
	one := []*T{row}
	err := enter(ctx, p, c.put, one)
	if errors.Is(err, errs.Conflict) && c.here(p.srv.state.Snapshot())[c.id(row)] != nil {
		if err := enter(ctx, p, c.drop, []string{c.id(row)}); err != nil {
			return err
		}
		err = enter(ctx, p, c.put, one)
	}
	if err == nil {
		p.counted(c.table, 1, 0)
	}
	return err
}

// dropAll deletes rows in batches, and those of a batch that is refused one by one.
func (c *copied[T]) dropAll(ctx context.Context, p *puller, ids []string) error {
	var failed rowErrors
	for batch := range slices.Chunk(ids, dropBatch) {
		err := enter(ctx, p, c.drop, batch)
		if err == nil {
			p.counted(c.table, 0, len(batch))
			continue
		}
		if !ofTheRow(err) {
			return err
		}
		for _, id := range batch {
			err := enter(ctx, p, c.drop, []string{id})
			if err == nil {
				p.counted(c.table, 0, 1)
			}
			if errors.Is(err, errs.NotFound) {
				err = nil
			}
			if err := failed.take(id, err); err != nil {
				return err
			}
		}
	}
	return failed.err()
}
