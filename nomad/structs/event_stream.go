package structs

import "github.com/cairn-project/cairn/internal/errs"

// EventStreamRequest asks for events.
type EventStreamRequest struct {
	// Topics maps topics to the keys that are wanted of each, "*" for all. No topics
	// means all of them.
	Topics map[Topic][]string
	// Index is the first index that is wanted, 0 for the oldest that is kept.
	Index uint64
	QueryOptions
}

// EventStreamWrapper is one message of a stream between servers: lines of JSON, or
// why the stream ended.
type EventStreamWrapper struct {
	Error *EventStreamError
	Event *EventJson
}

// EventJson holds whole lines.
type EventJson struct{ Data []byte }

// EventStreamError is the end of a stream, as servers tell each other.
type EventStreamError struct {
	Code    errs.Code
	Message string
	// NextIndex is 0 for a stream that did not begin.
	NextIndex uint64
}

// EventStreamLine is a line of the stream. A heartbeat has none of it.
type EventStreamLine struct {
	// Index is that of the events, 0 for any other line.
	Index  uint64        `json:",omitempty"`
	Events []EventRecord `json:",omitempty"`
	// Gap says that events are missing that were asked for. The stream goes on.
	Gap *EventGap `json:",omitempty"`
	// Error says why the stream ends here.
	Error *EventStreamEnd `json:",omitempty"`
}

// EventGap names the indexes between which events were dropped.
type EventGap struct {
	// After is the last index before the gap. Before is the first one that is there,
	// 0 if there is none yet.
	After, Before uint64
}

// EventStreamEnd says why a stream ended, and from which index on to ask again.
type EventStreamEnd struct {
	Code    errs.Code
	Message string
	// NextIndex is 0 where nothing was delivered.
	NextIndex uint64
}
