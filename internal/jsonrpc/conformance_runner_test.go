package jsonrpc

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestRunnerFailsOnWrongAnswers shows the runner answers that are right and wrong.
func TestRunnerFailsOnWrongAnswers(t *testing.T) {
	for _, c := range []struct {
		expect string
		right  string
		wrong  []string
	}{
		{`{"kind":"none"}`, "", []string{`{"jsonrpc":"2.0","result":1,"id":1}`, "\n", "[]"}},
		{`{"kind":"single","id":4,"result":19}`, `{"jsonrpc":"2.0","result":19,"id":4}`, []string{
			"", `{"jsonrpc":"2.0","result":20,"id":4}`, `{"jsonrpc":"2.0","result":"19","id":4}`, `{"jsonrpc":"2.0","result":19,"id":"4"}`,
			`{"jsonrpc":"2.0","result":19}`, `{"result":19,"id":4}`, `{"jsonrpc":2.0,"result":19,"id":4}`, `{"jsonrpc":"2.0","id":4}`,
			`{"jsonrpc":"2.0","result":19,"error":{"code":9,"message":"x"},"id":4}`, `[{"jsonrpc":"2.0","result":19,"id":4}]`,
			"{\"jsonrpc\":\"2.0\",\n\"result\":19,\"id\":4}", `{"jsonrpc":"2.0","error":{"code":9,"message":"x"},"id":4}`}},
		{`{"kind":"single","id":null,"error":{"code":-32600,"errata":[3,5]}}`,
			`{"jsonrpc":"2.0","error":{"code":-32600,"message":"x","data":[{"code":3},{"code":5}]},"id":null}`, []string{
				`{"jsonrpc":"2.0","error":{"code":-32600,"message":"x","data":[{"code":5},{"code":3}]},"id":null}`,
				`{"jsonrpc":"2.0","error":{"code":-32600,"message":"x","data":[{"code":3}]},"id":null}`,
				`{"jsonrpc":"2.0","error":{"code":-32600,"message":"x"},"id":null}`,
				`{"jsonrpc":"2.0","error":{"code":-32600,"message":"","data":[{"code":3},{"code":5}]},"id":null}`,
				`{"jsonrpc":"2.0","error":{"code":-32601,"message":"x","data":[{"code":3},{"code":5}]},"id":null}`,
				`{"jsonrpc":"2.0","error":{"code":-32600,"message":"x","data":[{"code":3},{"code":5}]}}`}},
		{`{"kind":"single","id_raw":"1.50","result_raw":"[1.0]"}`, `{"jsonrpc":"2.0","result":[1.0],"id":1.50}`, []string{
			`{"jsonrpc":"2.0","result":[1.0],"id":1.5}`, `{"jsonrpc":"2.0","result":[1],"id":1.50}`}},
		{`{"kind":"single","result":[9007199254740993]}`, `{"jsonrpc":"2.0","result":[9007199254740993],"id":1}`, []string{
			`{"jsonrpc":"2.0","result":[9007199254740992],"id":1}`}},
		{`{"kind":"single","result_len":3}`, `{"jsonrpc":"2.0","result":[1],"id":1}`, []string{`{"jsonrpc":"2.0","result":[12],"id":1}`}},
		{`{"kind":"single","result_has":{"methods":["a"]}}`, `{"jsonrpc":"2.0","result":{"methods":["b","a"]},"id":1}`, []string{
			`{"jsonrpc":"2.0","result":{"methods":["b"]},"id":1}`, `{"jsonrpc":"2.0","result":{},"id":1}`}},
		{`{"kind":"single","result_entries":[{"name":"a","privileged":true}]}`,
			`{"jsonrpc":"2.0","result":{"methods":[{"name":"a","privileged":true,"x":1}]},"id":1}`, []string{
				`{"jsonrpc":"2.0","result":{"methods":[{"name":"a","privileged":"1"}]},"id":1}`,
				`{"jsonrpc":"2.0","result":{"methods":[{"name":"a"},{"name":"b","privileged":true}]},"id":1}`}},
		{`{"kind":"batch","items":[{"id":1,"result":1},{"id":2,"result":2}]}`,
			`[{"jsonrpc":"2.0","result":1,"id":1},{"jsonrpc":"2.0","result":2,"id":2}]`, []string{
				`[{"jsonrpc":"2.0","result":2,"id":2},{"jsonrpc":"2.0","result":1,"id":1}]`, `[{"jsonrpc":"2.0","result":1,"id":1}]`,
				`{"jsonrpc":"2.0","result":1,"id":1}`}},
	} {
		e, err := parseExpectation([]byte(c.expect))
		if err != nil {
			t.Fatalf("%s: %v", c.expect, err)
		}
		if err := e.check(received{body: line(c.right)}); err != nil {
			t.Errorf("%s: refused %s: %v", c.expect, c.right, err)
		}
		for _, w := range c.wrong {
			if e.check(received{body: line(w)}) == nil {
				t.Errorf("%s: passed %q", c.expect, w)
			}
		}
	}
}

// line ends an answer as the socket does.
func line(answer string) []byte {
	if answer == "" || answer == "\n" {
		return []byte(answer)
	}
	return []byte(answer + "\n")
}

func TestRunnerChecksTheTransport(t *testing.T) {
	body := line(`{"jsonrpc":"2.0","result":1,"id":1}`)
	e, err := parseExpectation([]byte(`{"kind":"single","result":1,"close":true,"http":413}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]received{
		"open":         {body: body},
		"status":       {body: body, status: 200, closed: true},
		"no line feed": {body: body[:len(body)-1], closed: true},
	} {
		if e.check(got) == nil {
			t.Errorf("%s: passed", name)
		}
	}
	if err := e.check(received{body: body, status: 413, closed: true}); err != nil {
		t.Error(err)
	}
	if _, err := parseExpectation([]byte(`{"kind":"single","reslut":1}`)); err == nil {
		t.Error("an expectation that the runner does not know passed")
	}
	var c conformanceCase
	if err := json.Unmarshal([]byte(`{"send":"{}","setup":{"weather":"rain"},"expect":{"kind":"none"}}`), &c); err == nil {
		t.Error("a setup that the runner does not know passed")
	}
}

// TestRunnerFailsWhenExpectationsAreSpoilt changes what each case expects, one key at a
// time, and shows the runner the answer of a right server: every such case must fail.
func TestRunnerFailsWhenExpectationsAreSpoilt(t *testing.T) {
	checked := map[string]int{}
	for _, c := range loadConformance(t, "testdata") {
		msg, err := c.message()
		if err != nil {
			t.Fatal(err)
		}
		want, err := parseExpectation(c.Expect)
		if err != nil {
			t.Fatal(err)
		}
		got := overHTTP(t, conformanceServer(t, &c), c.Setup.Peer, msg)
		if err := want.check(got); err != nil {
			t.Fatalf("%s: the right answer fails: %v", c.Name, err)
		}
		for what, wrong := range spoiltExpectations(want) {
			checked[what]++
			if wrong.check(got) == nil {
				t.Errorf("%s: the runner passes it with a wrong %s", c.Name, what)
			}
		}
		if want.Close { // HTTP always ends with its answer
			checked["close"]++
			got.closed = false
			if want.check(got) == nil {
				t.Errorf("%s: the runner passes a connection that stays open", c.Name)
			}
		}
	}
	for _, what := range []string{"kind", "http", "close", "items", "id", "id_raw", "result", "result_raw", "result_len", "result_has",
		"result_entries", "error", "code", "errata"} {
		if checked[what] == 0 {
			t.Errorf("no case was tried with a wrong %s", what)
		}
	}
}

// spoiltExpectations returns copies, each with one thing wrong. Of a batch it spoils the
// number of answers, and the first one.
func spoiltExpectations(want *expectation) map[string]*expectation {
	out := map[string]*expectation{}
	add := func(what string, change func(*expectation)) {
		wrong := *want
		wrong.items = slices.Clone(want.items)
		change(&wrong)
		out[what] = &wrong
	}
	add("kind", func(e *expectation) {
		e.Kind = map[string]string{"none": "single", "single": "batch", "batch": "single"}[e.Kind]
	})
	add("http", func(e *expectation) { e.HTTP = http.StatusTeapot })
	switch {
	case want.Kind == "single":
		for what, answer := range spoiltAnswers(want.answerExpectation) {
			add(what, func(e *expectation) { e.answerExpectation = answer })
		}
	case want.Kind == "batch" && len(want.items) > 0:
		add("items", func(e *expectation) { e.items = append(e.items, e.items[0]) })
		for what, answer := range spoiltAnswers(want.items[0]) {
			add(what, func(e *expectation) { e.items[0] = answer })
		}
	}
	return out
}

func spoiltAnswers(want answerExpectation) map[string]answerExpectation {
	out := map[string]answerExpectation{}
	add := func(what string, there bool, change func(*answerExpectation)) {
		if there {
			wrong := want
			change(&wrong)
			out[what] = wrong
		}
	}
	text, n := `"none of those"`, 424242
	add("id", want.ID != nil, func(a *answerExpectation) { a.ID = json.RawMessage(text) })
	add("id_raw", want.IDRaw != nil, func(a *answerExpectation) { a.IDRaw = &text })
	add("result", want.Result != nil, func(a *answerExpectation) { a.Result = json.RawMessage(text) })
	add("result_raw", want.ResultRaw != nil, func(a *answerExpectation) { a.ResultRaw = &text })
	add("result_len", want.ResultLen != nil, func(a *answerExpectation) { a.ResultLen = &n })
	add("result_has", want.ResultHas != nil, func(a *answerExpectation) {
		a.ResultHas = map[string][]string{"methods": {text}}
	})
	add("result_entries", want.ResultEntries != nil, func(a *answerExpectation) {
		a.ResultEntries = append(slices.Clone(a.ResultEntries), map[string]any{"name": text})
	})
	add("error", true, func(a *answerExpectation) { // of one that failed a result, of one that did not an error
		if a.Error = nil; want.Error == nil {
			a.Error = &errorExpectation{Code: -32603}
		}
	})
	add("code", want.Error != nil, func(a *answerExpectation) { a.Error = &errorExpectation{Code: n, Errata: want.Error.Errata} })
	add("errata", want.Error != nil && want.Error.Errata != nil, func(a *answerExpectation) {
		a.Error = &errorExpectation{Code: want.Error.Code, Errata: append(slices.Clone(want.Error.Errata), n)}
	})
	return out
}

// TestRunnerFailsOnAWrongServer runs a case against a server that subtracts the
// wrong way round.
func TestRunnerFailsOnAWrongServer(t *testing.T) {
	send := `{"jsonrpc":"2.0","method":"subtract","params":[42,23],"id":1}`
	c := &conformanceCase{Send: &send}
	e, err := parseExpectation([]byte(`{"kind":"single","id":1,"result":19}`))
	if err != nil {
		t.Fatal(err)
	}
	s := conformanceServer(t, c)
	if err := e.check(overSocket(t, s, "", []byte(send), false)); err != nil {
		t.Fatalf("the right server fails: %v", err)
	}
	if err := s.Unregister("", "subtract"); err != nil {
		t.Fatal(err)
	}
	mustRegister(t, s, Method{Name: "subtract", Handler: always(-19, nil)})
	for name, got := range map[string]received{
		"socket": overSocket(t, s, "", []byte(send), false),
		"http":   overHTTP(t, s, "", []byte(send)),
	} {
		if err := e.check(got); err == nil || !strings.Contains(err.Error(), "-19") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
