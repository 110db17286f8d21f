package nomadtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/nodelink"
)

// LinkCaller calls a method of the agent under test. Data of a stream goes to w,
// which is nil for other methods.
type LinkCaller func(ctx context.Context, r *nodelink.Request, w io.Writer) (json.RawMessage, error)

// linkCase is what a method is called with and what it answers.
type linkCase struct{ args, data, reply string }

// linkCases has at least one case for every method of the table.
var linkCases = map[string][]linkCase{
	"Agent.Host":          {{args: `{}`, reply: `{"OS":"linux","Memory":[1,2,3]}`}},
	"Agent.Monitor":       {{args: `{"LogLevel":"debug"}`, data: "one line\nanother\n", reply: `null`}, {args: `{}`, reply: `null`}},
	"Agent.MonitorExport": {{args: `{"OnDisk":true}`, data: "one line\n", reply: `{"Bytes":9}`}},
	"Agent.Profile":       {{args: `{"Profile":"heap"}`, reply: `"AAEC/w=="`}},
	"ClientStats.Stats":   {{args: `{}`, reply: `{"Uptime":18446744073709551615}`}},
	"FS.List":             {{args: `{"Path":"/a b"}`, reply: `[]`}, {args: `{"Path":"/ü"}`, reply: `[{"Name":"\u0000<&>","Size":0}]`}},
	"FS.Read":             {{args: `{"Path":"x","Offset":9007199254740993}`, reply: `""`}},
	"FS.Stat":             {{args: `{"Path":"x"}`, reply: `{"Name":"x"}`}},
	"FS.Stream":           {{args: `{"Path":"x"}`, data: string(make([]byte, 200_000)), reply: `{"Offset":200000}`}},
	"Node.Apply":          {{args: `{"Kind":"drain","Cause":{"User":"u","Message":"line\nbreak"}}`, reply: `{"OperationID":"op"}`}},
	"Node.Export":         {{args: ``, reply: `{"Node":{"ID":"n"},"Zero":{}}`}},
	"Node.Identity":       {{args: `{"Rotate":true}`, reply: `{"PublicKey":"k"}`}},
	"Node.NotifyChange":   {{args: `{"Kind":"of tomorrow","Index":7}`, reply: `null`}},
	"Node.Ping":           {{args: ``, reply: `null`}},
	"Node.SyncStatus":     {{args: `{"Index":7}`, reply: `["a","b","c"]`}},
	"Node.Version":        {{args: ``, reply: `"1.2.3"`}},
	"Op.Status":           {{args: `{"ID":"op"}`, reply: `{"Status":"queued"}`}},
}

// LinkKinds are the kinds that the agent of the battery announces.
var LinkKinds = []string{"drain", "gc"}

// linkErrors are the errors that a handler may return, and how they must arrive.
var linkErrors = map[string]struct {
	err  error
	want nodelink.Failure
}{
	"user": {errs.New(errs.Invalid, "two\nlines of help").WithErrata(errs.Erratum{Field: "A.b", Msg: "bad"}),
		nodelink.Failure{Outcome: nodelink.Refused, Kind: nodelink.User, Help: "two\nlines of help", Errata: []errs.Erratum{{Field: "A.b", Msg: "bad"}}}},
	"missing":  {errs.New(errs.NotFound, "no such thing"), nodelink.Failure{Outcome: nodelink.Refused, Kind: nodelink.Missing, Help: "no such thing"}},
	"conflict": {errs.New(errs.Conflict, "changed"), nodelink.Failure{Outcome: nodelink.Refused, Kind: nodelink.Conflict, Help: "changed"}},
	"denied":   {errs.New(errs.PermissionDenied, "no"), nodelink.Failure{Outcome: nodelink.Refused, Kind: nodelink.Denied, Help: "no"}},
	"busy": {errs.New(errs.Busy, "later").WithRetryAfter(3e9),
		nodelink.Failure{Outcome: nodelink.Refused, Kind: nodelink.Busy, Help: "later", RetryAfter: 3e9}},
	"limited": {errs.New(errs.RateLimited, "enough").WithRetryAfter(3e9),
		nodelink.Failure{Outcome: nodelink.Refused, Kind: nodelink.Busy, Code: errs.RateLimited, Help: "enough", RetryAfter: 3e9}},
	"away": {errs.Lost(errs.ExecutedUnknown, "the registry went away", nil),
		nodelink.Failure{Outcome: nodelink.Refused, Kind: nodelink.Away, Help: "the registry went away", Executed: errs.ExecutedUnknown}},
	"late": {errs.New(errs.Deadline, "the disk took too long"), nodelink.Failure{Outcome: nodelink.Late, Help: "the disk took too long"}},
	"server": {errs.Wrap(errs.Internal, "help", errors.New("for developers")),
		nodelink.Failure{Outcome: nodelink.Refused, Kind: nodelink.Fault, Help: "help", Text: "for developers"}},
	"plain": {errors.New("plain text"),
		nodelink.Failure{Outcome: nodelink.Refused, Kind: nodelink.Fault, Help: "the agent failed; its log says more under trace t", Text: "plain text"}},
	"unsupported": {errs.New(errs.Unsupported, "not here"), nodelink.Failure{Outcome: nodelink.Unsupported, Help: "not here"}},
}

// failWith returns the argument that makes the agent of the battery fail.
func failWith(name string) string { return `{"Kind":"drain","Fail":"` + name + `"}` }

// LinkHandlers are the methods of the agent of the battery.
func LinkHandlers() nodelink.Handlers {
	out := nodelink.Handlers{}
	for name, cases := range linkCases {
		out[name] = func(_ context.Context, c *nodelink.Call) (any, error) {
			for why, e := range linkErrors {
				if string(c.Body) == failWith(why) {
					return nil, e.err
				}
			}
			for _, want := range cases {
				if body := string(c.Body); body != want.args && (body != "null" || want.args != "" && want.args != "{}") {
					continue
				}
				if want.data != "" {
					if _, err := c.Write([]byte(want.data)); err != nil {
						return nil, err
					}
				}
				return json.RawMessage(want.reply), nil
			}
			return nil, errs.Newf(errs.Invalid, "unexpected argument %q", c.Body)
		}
	}
	return out
}

// LinkBattery calls every method of the table with every case, and every error,
// on an agent that speaks a version of the protocol and serves LinkHandlers.
// Methods that the version does not have must be refused without being sent.
func LinkBattery(t *testing.T, version int, call LinkCaller) {
	t.Helper()
	for i := range nodelink.Methods {
		m := &nodelink.Methods[i]
		cases := linkCases[m.Name]
		if len(cases) == 0 {
			t.Errorf("%s has no case in the battery: give it one in linkCases", m.Name)
		}
		for _, c := range cases {
			linkMethod(t, version, call, m, c)
		}
		if m.Since > version {
			continue
		}
		for why := range linkErrors {
			linkFailure(t, version, call, m, why)
		}
	}
}

// sink returns where the data of a stream goes, nil for other methods.
func sink(m *nodelink.Method) (*bytes.Buffer, io.Writer) {
	b := new(bytes.Buffer)
	if m.Class != nodelink.Stream {
		return b, nil
	}
	return b, b
}

func linkMethod(t *testing.T, version int, call LinkCaller, m *nodelink.Method, c linkCase) {
	t.Helper()
	data, w := sink(m)
	got, err := call(t.Context(), &nodelink.Request{Method: m.Name, Body: json.RawMessage(c.args), Trace: "t"}, w)
	if m.Since > version {
		if f := new(nodelink.Failure); !errors.As(err, &f) || f.Outcome != nodelink.Unsupported || !bytes.Contains([]byte(f.Help), []byte("upgrade it to one that speaks version 2")) {
			t.Errorf("%s on version %d: %v, want an upgrade asked for", m.Name, version, err)
		}
		return
	}
	if err != nil {
		t.Errorf("%s(%s): %v", m.Name, c.args, err)
		return
	}
	if string(got) != c.reply || data.String() != c.data {
		t.Errorf("%s(%s) = %s with %d bytes of data, want %s with %d", m.Name, c.args, got, data.Len(), c.reply, len(c.data))
	}
}

func linkFailure(t *testing.T, version int, call LinkCaller, m *nodelink.Method, why string) {
	t.Helper()
	_, w := sink(m)
	_, err := call(t.Context(), &nodelink.Request{Method: m.Name, Body: json.RawMessage(failWith(why)), Trace: "t"}, w)
	f := new(nodelink.Failure)
	if !errors.As(err, &f) {
		t.Errorf("%s failing with %q: %v, want a failure", m.Name, why, err)
		return
	}
	want := linkErrors[why].want
	if version == 1 { // only the text of an error crosses
		want = nodelink.Failure{Outcome: nodelink.Refused, Kind: nodelink.Fault, Help: linkErrors[why].err.Error(),
			Text: "the agent is too old to say what kind of error it is"}
	}
	if diff := cmp.Diff(want, *f); diff != "" {
		t.Errorf("%s failing with %q (-want +got):\n%s", m.Name, why, diff)
	}
}
