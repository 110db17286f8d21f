package nodelink

import (
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

// The versions of the protocol that a server of this release speaks. An agent
// speaks the newest only.
const (
	OldestVersion = 1
	NewestVersion = 2
)

// Hello is what an agent says first. Unknown fields are skipped.
type Hello struct {
	// Protocol is the newest version that the agent speaks, Oldest the lowest.
	Protocol int
	Oldest   int
	// Region is the region that the node belongs to.
	Region string
	// NodeID and Secret are those that the node registered with.
	NodeID string
	Secret string
	// Epoch is the fencing epoch that the answer to the registration had.
	Epoch uint64
	// Instance is random, chosen when the process of the agent starts, and the
	// LinkInstance of its registration.
	Instance string
	// Build is the version of the agent.
	Build string
	// Methods are the methods that the agent serves with their revisions. Serve
	// fills them in from the handlers; version 1 does not send them.
	Methods map[string]int `json:",omitempty"`
	// Kinds are the kinds of things the node can run or change, such as the kinds
	// of Node.Apply.
	Kinds []string `json:",omitempty"`
	// MaxMessage is the largest argument in bytes that the agent takes.
	MaxMessage int
}

// Validate reports every problem of a hello.
func (h *Hello) Validate() error {
	var bad []errs.Erratum
	add := func(field, msg string) { bad = append(bad, errs.Erratum{Field: field, Msg: msg}) }
	if h.Protocol <= 0 || h.Oldest <= 0 || h.Oldest > h.Protocol {
		add("Protocol", "want a range of versions")
	}
	if h.NodeID == "" {
		add("NodeID", "missing")
	}
	if h.Secret == "" {
		add("Secret", "missing")
	}
	if h.Instance == "" {
		add("Instance", "missing")
	}
	if len(h.Methods) > maxAnnounced || len(h.Kinds) > maxAnnounced {
		add("Methods", "too many")
	}
	if bad != nil {
		return errs.New(errs.Invalid, "the hello of the agent is incomplete").WithErrata(bad...)
	}
	return nil
}

// maxAnnounced bounds the methods and the kinds of a hello.
const maxAnnounced = 256

// Welcome is the server's answer to the hello of an agent that it takes.
type Welcome struct {
	// Protocol is the version that both speak from here on.
	Protocol int
	// SessionID names the link in logs and lists.
	SessionID string
	// ServerID and ServerName say who the server is.
	ServerID   string
	ServerName string
	// PingInterval is how often each side says that it is there; a side that hears
	// nothing for three of them ends the link.
	PingInterval time.Duration
	// MaxAge is after how long the server ends the link, so that links spread.
	MaxAge time.Duration
	// MaxMessage is the largest reply in bytes that the server takes.
	MaxMessage int
}

// Reason says why a server does not take an agent, or lets it go.
type Reason string

// The reasons. No agent ends for one of them: what runs on the node runs on.
const (
	// Retired: the server no longer speaks the protocol of the agent.
	Retired Reason = "retired"
	// TooNew: the server does not speak the protocol of the agent yet.
	TooNew Reason = "too_new"
	// Superseded: the node registered from another process since.
	Superseded Reason = "superseded"
	// BadIdentity: no node registered with this ID and secret.
	BadIdentity Reason = "bad_identity"
	// WrongRegion: the node belongs to another region.
	WrongRegion Reason = "wrong_region"
	// Leaving: the server is about to stop; others are not.
	Leaving Reason = "leaving"
	// MaxAge ends a link that is old, to be dialled again at once.
	MaxAge Reason = "max_age"
	// Kicked: an operator ended the link, or a newer one took its place.
	Kicked Reason = "kicked"
	// Malformed: the hello could not be understood.
	Malformed Reason = "malformed"
)

// Refusal is the answer to the hello of an agent that the server does not take,
// and the goodbye to one that it lets go. It is an error of the agent's side.
type Refusal struct {
	Reason Reason
	// Help says what the operator of the node can do.
	Help string
	// RetryAfter is how long to wait before dialling this server again, 0 for the
	// agent's own pace.
	RetryAfter time.Duration
}

// Error returns the reason and the help.
func (r *Refusal) Error() string { return "link refused: " + string(r.Reason) + ": " + r.Help }

// Lasting reports whether servers go on refusing until somebody changes something;
// others are over once the agent has dialled again.
func (r *Refusal) Lasting() bool {
	switch r.Reason {
	case Leaving, MaxAge, Kicked:
		return false
	}
	return true
}

// HTTPStatus is the status of a refusal where the link is dialled over HTTP.
func (r *Refusal) HTTPStatus() int {
	switch r.Reason {
	case Retired:
		return 410
	case TooNew:
		return 501
	case Superseded, Kicked:
		return 409
	case BadIdentity:
		return 403
	case WrongRegion:
		return 421
	case Malformed:
		return 400
	}
	return 503
}
