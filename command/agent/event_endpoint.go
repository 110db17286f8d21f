package agent

import (
	"net/http"
	"strings"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/stream"
	"github.com/cairn-project/cairn/nomad/structs"
)

// eventWriteTimeout bounds a write to a reader of events that is behind.
const eventWriteTimeout = 40 * time.Second

func eventRoutes() []route {
	return []route{
		local[structs.EventStreamLine](doc{methods: "GET", pattern: "/v1/event/stream", rpc: "Event.Stream", region: true,
			summary: "Follow the events of changes: one line of JSON for each index that has any, and an empty object at the beginning and every 30 seconds.",
			params: []param{
				{name: "topic", kind: "string", repeat: true, summary: "a topic, or a topic and a key as Topic:key; * for all, which is the default"},
				{name: "index", kind: "integer", summary: "the first index that is wanted, by default the oldest that is kept"},
				{name: "namespace", kind: "string", summary: "the namespace of events that have one, default by default, * for all"},
			}}, serveEvents),
	}
}

// eventTopics reads the topics that are asked for, nil for all.
func (r *request) eventTopics() (map[structs.Topic][]string, error) {
	var out map[structs.Topic][]string
	for _, text := range r.query.all("topic") {
		topic, key, keyed := strings.Cut(text, ":")
		if topic == "" || keyed && key == "" {
			return nil, errs.Newf(errs.Invalid, "Invalid topic %q: must be Topic, Topic:key or Topic:*", text)
		}
		if !keyed {
			key = "*"
		}
		if out == nil {
			out = map[structs.Topic][]string{}
		}
		out[structs.Topic(topic)] = append(out[structs.Topic(topic)], key)
	}
	return out, nil
}

// maxEventKeys bounds the topics and keys of one stream.
const maxEventKeys = 1024

func serveEvents(r *request) error {
	args := &structs.EventStreamRequest{}
	if err := r.readOptions(&args.QueryOptions); err != nil {
		return err
	}
	args.Index, args.MinQueryIndex = args.MinQueryIndex, 0
	var err error
	if args.Topics, err = r.eventTopics(); err != nil {
		return err
	}
	if n := len(r.query.all("topic")); n > maxEventKeys {
		return errs.Newf(errs.Invalid, "%d topics are asked for, at most %d are taken: follow a whole topic instead", n, maxEventKeys)
	}
	w := &eventWriter{w: r.w}
	err = r.api.server.StreamEvents(r.Context(), args, w.send)
	if w.began && err != nil && r.Context().Err() == nil { // what was sent cannot become an error
		_ = w.send(stream.EndedLine(err))
	}
	if w.began {
		return nil
	}
	return err
}

// eventWriter lets every piece of a stream go at once.
type eventWriter struct {
	w     http.ResponseWriter
	began bool
}

func (e *eventWriter) send(lines []byte) error {
	if !e.began {
		e.began = true
		h := e.w.Header()
		h["Content-Type"] = jsonType
		h["Cache-Control"] = []string{"no-cache"}
	}
	rc := http.NewResponseController(e.w)
	_ = rc.SetWriteDeadline(time.Now().Add(eventWriteTimeout))
	if _, err := e.w.Write(lines); err != nil {
		return err
	}
	return rc.Flush()
}
