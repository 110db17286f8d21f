package nomad

import (
	"errors"
	"strings"
	"testing"

	"github.com/cairn-project/cairn/internal/errs"
)

// several is how gossip tells of several addresses.
type several []error

func (s several) Error() string          { return "2 errors occurred:\n\t* a\n\t* b\n\n" }
func (s several) WrappedErrors() []error { return s }

func TestJoinFailureNamesTheRemedy(t *testing.T) {
	refused := errors.New("dial tcp 10.0.0.1:4648: connect: connection refused")
	err := joinFailed(several{refused, errors.New("failed to join 10.0.0.2:4648: no installed keys could decrypt the message")})
	text := err.Error()
	if !errors.Is(err, errs.Unavailable) || strings.Contains(text, "\n") || !strings.Contains(text, refused.Error()+"; failed to join 10.0.0.2") || !strings.Contains(text, "serf.keyring") {
		t.Errorf("%q", text)
	}
	if text = joinFailed(refused).Error(); !strings.HasSuffix(text, "no server could be joined: "+refused.Error()) {
		t.Errorf("%q", text)
	}
}
