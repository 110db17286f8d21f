package command

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-project/cairn/nomad/state"
)

func TestEventTopicsAreThoseThatThereAre(t *testing.T) {
	var want []string
	for _, topic := range state.Topics() {
		want = append(want, string(topic))
	}
	slices.Sort(want)
	if !slices.Equal(eventTopics, want) {
		t.Errorf("offered are %v, there are %v", eventTopics, want)
	}
}

func TestEventStream(t *testing.T) {
	const first = `{"Index":7,"Events":[{"Topic":"Variable","Type":"VariableUpdated","Key":"app/db","Namespace":"default","Index":7,"Payload":{"Variable":{"Path":"app/db"}}},` +
		`{"Topic":"Node","Type":"NodeDrain","Key":"n\u001b1","Index":7,"Payload":{"Node":{"Status":"ready"}}}]}`
	const second = `{"Index":9,"Events":[{"Topic":"Namespace","Type":"NamespaceDeleted","Key":"prod","Namespace":"","Index":9,"Payload":{}}]}`
	const gap, end = `{"Gap":{"After":4,"Before":7}}`, `{"Error":{"Code":"unavailable","Message":"This server stops","NextIndex":12}}`
	serve := func(lines ...string) *fakeAgent {
		return newFakeAgent(t, map[string]reply{"GET /v1/event/stream": {body: strings.Join(lines, "\n") + "\n"}})
	}
	f := serve("{}", gap, first, "{}", second, end)
	f.run("event", "stream", "-topic", "Variable:app/db", "-topic", "Node", "-index", "5", "-namespace", "*").expect(t, 1,
		[]string{"7         Variable        VariableUpdated         app/db  (default)\n", "n\\x1b1\n", "9         Namespace       NamespaceDeleted        prod\n"},
		[]string{"forgotten the events between index 4 and 7", "the stream ended: this server stops", "go on with -index 12"})
	_, query, _ := strings.Cut(f.last().line, "?")
	q, err := url.ParseQuery(query)
	if err != nil || !slices.Equal(q["topic"], []string{"Variable:app/db", "Node"}) || q.Get("index") != "5" || q.Get("namespace") != "*" {
		t.Errorf("asked for %v, %v", q, err)
	}
	f.run("event", "stream", "-json", "-count", "3").expect(t, 0, []string{first + "\n" + second + "\n"}, []string{"forgotten"})
	f.run("event", "stream", "-count", "1", "-t", "{{.Type}}").expect(t, 0, []string{"VariableUpdated\nNodeDrain\n"}, []string{"forgotten"})
	serve("{}", first).run("event", "stream").expect(t, 1, nil, []string{"the server ended it", "go on with -index 8"})
	serve("{}").run("event", "stream").expect(t, 1, nil, []string{"the server ended it"})
	serve("nonsense").run("event", "stream", "-index", "3").expect(t, 1, nil, []string{"none of the event stream", "go on with -index 3"})
	newFakeAgent(t, map[string]reply{"GET /v1/event/stream": {status: 403, body: "Permission denied"}}).run("event", "stream").expect(t, 1, nil,
		[]string{"following the events: permission denied (HTTP 403)", "CAIRN_TOKEN"})
	f.run("event", "stream", "-count", "x").expect(t, 1, nil, []string{"count"})
}
