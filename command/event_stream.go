package command

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
)

// eventTopics are the topics that have events, for completion.
var eventTopics = []string{"ACLAuthMethod", "ACLBindingRule", "ACLPolicy", "ACLRole", "ACLToken", "Namespace", "Node", "NodePool", "Operation", "Variable", "WorkloadEvent"}

// eventStream follows the changes of the cluster.
type eventStream struct {
	topics       []string
	index, count uint64
	seen         uint64
	next         uint64 // the index from which on to ask again, 0 while unknown
}

func (*eventStream) about() about {
	return about{
		synopsis: "follow the changes of the cluster",
		usage:    "[options]",
		text: "Shows the changes that the agent's server still remembers, then those that come, until it is interrupted. What the token may not see is left out. " +
			"With -json each line is what the server sent, all events of one index; a template gets one event at a time. When the stream breaks off the exit code is 1, " +
			"and the index to go on from is told.",
		examples: [][2]string{
			{"Follow everything in the namespace", "cairn event stream"},
			{"Follow one variable and all nodes from an index on", "cairn event stream -topic Variable:app/db -topic Node -index 1042"},
			{"Wait for the next change of a node's status", `cairn event stream -topic Node -count 1 -t '{{.Type}} {{.Payload.Node.Status}}'`},
		},
		groups: withAgent | withNamespace | withData,
	}
}

func (c *eventStream) flags(f *flags) {
	f.list(&c.topics, "topic", "topic[:key]", "Only this topic, or this key of it; may be repeated. Everything by default.", oneOf(eventTopics...))
	f.number(&c.index, "index", "number", "Begin at this index instead of the oldest that is remembered.")
	f.number(&c.count, "count", "number", "Stop after this many events.")
}

// eventLine is a line of the stream.
type eventLine struct {
	Index  uint64
	Events []map[string]any
	Gap    *struct{ After, Before uint64 }
	Error  *struct {
		Message   string
		NextIndex uint64
	}
}

func (c *eventStream) run(s *session, _ []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	q := url.Values{"topic": c.topics, "index": {strconv.FormatUint(c.index, 10)}}
	body, err := client.Raw().Response("/v1/event/stream?"+q.Encode(), s.query())
	if err != nil {
		return failed("following the events", err)
	}
	defer body.Close()
	c.next = c.index
	for in := bufio.NewReader(body); ; {
		raw, err := in.ReadBytes('\n')
		if err != nil {
			return c.brokeOff(err)
		}
		if done, err := c.line(s, raw); done || err != nil {
			return err
		}
	}
}

// brokeOff says that the stream ended without a word, and how to go on.
func (c *eventStream) brokeOff(err error) error {
	if err == io.EOF {
		err = errors.New("the server ended it")
	}
	return c.goOn(failed("following the events", err))
}

func (c *eventStream) goOn(err error) error {
	if c.next == 0 {
		return err
	}
	return hinted(err, fmt.Sprintf("go on with -index %d", c.next))
}

// line shows one line; done says that there were enough events.
func (c *eventStream) line(s *session, raw []byte) (done bool, err error) {
	var l eventLine
	if err := json.Unmarshal(raw, &l); err != nil {
		return false, c.goOn(fmt.Errorf("the server sent a line that is none of the event stream: %w", err))
	}
	switch {
	case l.Error != nil:
		if l.Error.NextIndex > 0 {
			c.next = l.Error.NextIndex
		}
		return false, c.goOn(errors.New("the stream ended: " + lowerFirst(clean(l.Error.Message))))
	case l.Gap != nil:
		s.warn("the server has forgotten the events between index %d and %d", l.Gap.After, l.Gap.Before)
	case len(l.Events) > 0:
		c.next = l.Index + 1
		if err := c.show(s, &l, raw); err != nil {
			return false, err
		}
		c.seen += uint64(len(l.Events))
	}
	return c.count > 0 && c.seen >= c.count, nil
}

func (c *eventStream) show(s *session, l *eventLine, raw []byte) error {
	if s.json {
		_, err := s.stdout.Write(append(bytes.TrimSpace(raw), '\n'))
		return err
	}
	for _, e := range l.Events {
		if s.template != "" {
			if err := s.printTemplate(e); err != nil {
				return err
			}
			continue
		}
		name := text(e["Key"])
		if ns := text(e["Namespace"]); ns != "" {
			name += "  (" + ns + ")"
		}
		s.say("%-8d  %-14s  %-22s  %s", l.Index, clean(text(e["Topic"])), clean(text(e["Type"])), clean(name))
	}
	return nil
}

// text returns a field that holds a text, "" for any other.
func text(v any) string {
	t, _ := v.(string)
	return t
}
