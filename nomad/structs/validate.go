package structs

import (
	"strings"

	"github.com/cairn-project/cairn/internal/errs"
)

// errataError returns nil for no errata, else one error that lists them all.
func errataError(what string, errata []errs.Erratum) error {
	if len(errata) == 0 {
		return nil
	}
	msgs := make([]string, len(errata))
	for i, e := range errata {
		msgs[i] = e.Msg
	}
	return errs.New(errs.Invalid, what+": "+strings.Join(msgs, "; ")).WithErrata(errata...)
}
