package structs

import (
	"encoding/json"
	"fmt"
	"regexp"

	"github.com/cairn-project/cairn/internal/errs"
)

// Bounds of an event that a workload raises, in bytes.
const (
	MaxWorkloadEventKey     = 256
	MaxWorkloadEventDetails = 16 << 10
)

// WorkloadEvent is something that a program on a node tells the cluster. It is in
// the event stream and stored nowhere.
type WorkloadEvent struct {
	Namespace string
	// Type is a word that says what happened, Key what it happened to.
	Type string
	Key  string
	// Details is a JSON object, nil for none.
	Details json.RawMessage `json:",omitempty"`
	// Source is the program, as the agent of its node saw it.
	Source PeerIdentity
	// Time is when the leader took the event, in Unix nanoseconds.
	Time int64
}

// WorkloadEventRaiseResponse answers WorkloadEventRaiseRequest.
type WorkloadEventRaiseResponse struct {
	WriteMeta
}

var workloadEventType = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_.-]{0,63}$`)

// Validate returns every problem at once.
func (e *WorkloadEvent) Validate() error {
	if e == nil {
		return invalidf("event is missing")
	}
	var wrong []errs.Erratum
	bad := func(when bool, field, format string, args ...any) {
		if when {
			wrong = append(wrong, errs.Erratum{Field: field, Msg: fmt.Sprintf(format, args...)})
		}
	}
	bad(e.Namespace == "" || e.Namespace == AllNamespacesSentinel, "Namespace", "the namespace must be one that exists")
	bad(!workloadEventType.MatchString(e.Type), "Type", "the type must be a word of 1 to 64 letters, digits and -_. that begins with a letter")
	bad(len(e.Key) > MaxWorkloadEventKey, "Key", "the key has %d bytes, at most %d are taken", len(e.Key), MaxWorkloadEventKey)
	bad(len(e.Details) > MaxWorkloadEventDetails, "Details", "the details have %d bytes, at most %d are taken", len(e.Details), MaxWorkloadEventDetails)
	var object map[string]json.RawMessage
	bad(len(e.Details) > 0 && len(e.Details) <= MaxWorkloadEventDetails && (json.Unmarshal(e.Details, &object) != nil || object == nil),
		"Details", "the details must be a JSON object")
	return errataError("invalid event", wrong)
}
