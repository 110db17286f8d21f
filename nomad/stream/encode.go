package stream

import (
	"bytes"
	"encoding/json"
	"strconv"
	"sync"

	"github.com/cairn-project/cairn/nomad/structs"
)

// Event is an event and its JSON, which all subscribers share.
type Event struct {
	*structs.Event
	link *link
	at   int
}

// encoded is the JSON of one event.
type encoded struct {
	once sync.Once
	json []byte
	err  error
}

// JSON returns the event as subscribers get it. Nobody may change it.
func (e Event) JSON() ([]byte, error) {
	l := e.link
	l.once.Do(func() { l.encoded = make([]encoded, len(l.batch)) })
	c := &l.encoded[e.at]
	c.once.Do(func() { c.json, c.err = encode(e.Event) })
	return c.json, c.err
}

func encode(e *structs.Event) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e.Record()); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// AppendLine appends the events as one line.
func (e Events) AppendLine(b []byte) ([]byte, error) {
	b = strconv.AppendUint(append(b, `{"Index":`...), e.Index, 10)
	b = append(b, `,"Events":[`...)
	for i := range e.Events {
		if i > 0 {
			b = append(b, ',')
		}
		j, err := e.Events[i].JSON()
		if err != nil {
			return nil, err
		}
		b = append(b, j...)
	}
	return append(b, "]}\n"...), nil
}
