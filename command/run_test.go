package command

import (
	"errors"
	"testing"
)

type errorList []error

func (errorList) Error() string            { return "2 errors occurred:\n\t* a\n\t* b\n\n" }
func (e errorList) WrappedErrors() []error { return e }

func TestListsOfErrorsAreOneLine(t *testing.T) {
	for err, want := range map[error]string{
		errors.New("alone"): "alone",
		&failure{err: errorList{errors.New("already installed in .bashrc"), errors.New("b")}}: "already installed in .bashrc; b",
	} {
		if got := inOneLine(err); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
