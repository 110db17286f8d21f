package errs

import (
	"errors"
	"strings"
)

// InOneLine returns the text of an error that may be a list, such as libraries print on a
// line for each.
func InOneLine(err error) string {
	var list interface{ WrappedErrors() []error }
	if !errors.As(err, &list) {
		return err.Error()
	}
	var all []string
	for _, one := range list.WrappedErrors() {
		all = append(all, one.Error())
	}
	return strings.Join(all, "; ")
}
