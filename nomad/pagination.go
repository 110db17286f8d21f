package nomad

import (
	"fmt"
	"iter"

	"github.com/hashicorp/go-bexpr"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// maxFilterLength bounds a filter expression, in bytes.
const maxFilterLength = 16 << 10

// page says how a list of rows is cut into pages.
type page[T any] struct {
	// visible hides rows that the caller may not see.
	visible func(*T) bool
	// object is what a filter sees of a row.
	object func(*T) any
	// key is the cursor of a row: unique, and in the order of the rows.
	key func(*T) string
	// emit takes the rows of the page in order.
	emit func(*T)
}

// paginate walks rows, which begin at the cursor asked for, and emits one page.
// It returns the cursor of the first row that is left over, "" at the end.
func paginate[T any](rows iter.Seq[*T], opts *structs.QueryOptions, p page[T]) (next string, err error) {
	if opts.PerPage < 0 {
		return "", errs.Newf(errs.Invalid, "per_page must not be negative, it is %d", opts.PerPage)
	}
	match, err := compileFilter(opts.Filter)
	if err != nil {
		return "", err
	}
	n := int32(0)
	for row := range rows {
		if !p.visible(row) {
			continue
		}
		ok, err := match(p.object(row))
		if err != nil {
			return "", err
		}
		if !ok {
			continue
		}
		if opts.PerPage > 0 && n == opts.PerPage {
			return p.key(row), nil
		}
		p.emit(row)
		n++
	}
	return "", nil
}

// compileFilter returns the test for a go-bexpr expression; "" passes everything.
func compileFilter(expr string) (func(any) (bool, error), error) {
	if expr == "" {
		return func(any) (bool, error) { return true, nil }, nil
	}
	if len(expr) > maxFilterLength {
		return nil, errs.Newf(errs.Invalid, "filter expression is longer than %d bytes", maxFilterLength)
	}
	ev, err := bexpr.CreateEvaluator(expr)
	if err != nil {
		return nil, errs.Newf(errs.Invalid, "failed to read filter expression: %w", err)
	}
	return func(row any) (ok bool, err error) {
		defer func() {
			if p := recover(); p != nil {
				ok, err = false, errs.New(errs.Invalid, fmt.Sprintf("filter expression does not fit the objects: %v", p))
			}
		}()
		ok, err = ev.Evaluate(row)
		if err != nil {
			err = errs.Newf(errs.Invalid, "filter expression does not fit the objects: %w", err)
		}
		return ok, err
	}, nil
}
