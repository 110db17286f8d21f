package errs

import (
	"errors"
	"fmt"
	"testing"
)

type errorList []error

func (errorList) Error() string            { return "2 errors occurred:\n\t* a\n\t* b\n\n" }
func (e errorList) WrappedErrors() []error { return e }

func TestListsOfErrorsAreOneLine(t *testing.T) {
	for err, want := range map[error]string{
		errors.New("alone"): "alone",
		fmt.Errorf("a list: %w", errorList{errors.New("already installed in .bashrc"), errors.New("b")}): "already installed in .bashrc; b",
	} {
		if got := InOneLine(err); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
