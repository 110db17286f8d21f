package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jsonrpc"
)

// Codes of details of calls about records, frozen once released. A record is one
// key of the configuration.
const (
	errataRecordNotFound = 2000
	errataRecordName     = 2003
	errataRecordValue    = 2004
	errataRecordWrite    = 2006
)

var recordErrata = []jsonrpc.ErrataRange{{From: 2000, To: 2008, Meaning: "2000 no such record, 2003 bad name or expression, 2004 the value is not valid, 2006 cannot be set while the agent runs"}}

var reloadErrata = []jsonrpc.ErrataRange{{From: 6001, To: 6005, Meaning: "6001 unknown token, 6002 token in use, 6004 in progress, 6005 nothing was begun yet"}}

// record is one key of the configuration as it is in force.
type record struct {
	Name string `json:"name"`
	// Value is withheld for secrets.
	Value any    `json:"value"`
	Type  string `json:"type"`
	// Runtime is true for what can be set while the agent runs, Reload for what a reload
	// takes over.
	Runtime bool `json:"runtime"`
	Reload  bool `json:"reload"`
	Secret  bool `json:"secret"`
	// real is the value, of secrets too.
	real any
}

// recordLogLevel and recordLimits are what can be set while the agent runs: the log
// level, and everything below the limits of requests.
const (
	recordLogLevel = "log_level"
	recordLimits   = "limits.request_limits."
)

// settable reports whether a record can be set while the agent runs.
func settable(name string) bool {
	return name == recordLogLevel || strings.HasPrefix(name, recordLimits)
}

// records returns all keys of a configuration, in order of their place in it.
func records(c *Config) []record {
	var out []record
	var walk func(v reflect.Value, prefix string)
	walk = func(v reflect.Value, prefix string) {
		t := v.Type()
		for i := range t.NumField() {
			key := t.Field(i).Tag.Get("hcl")
			if key == "" {
				continue
			}
			name, f := joinKey(prefix, key), v.Field(i)
			if f.Kind() == reflect.Struct {
				walk(f, name)
				continue
			}
			r := record{Name: name, Value: f.Interface(), Type: f.Kind().String(), Runtime: settable(name), Reload: reloadable(name), real: f.Interface()}
			if d, ok := r.Value.(time.Duration); ok {
				r.Value, r.Type = d.String(), "duration"
			}
			if t.Field(i).Tag.Get("secret") == "true" {
				r.Secret = true
				if !f.IsZero() {
					r.Value = redacted
				}
			}
			out = append(out, r)
		}
	}
	walk(reflect.ValueOf(c).Elem(), "")
	return out
}

// recordQuery asks for one record by its name, or for those that an expression matches.
type recordQuery struct {
	Name  string `json:"name,omitempty"`
	Regex string `json:"regex,omitempty"`
}

type lookupParams struct {
	Records []recordQuery `json:"records"`
}

// recordError is a query or a change that failed, beside others that did not.
type recordError struct {
	Name    string `json:"name"`
	Code    int    `json:"code"`
	Message string `json:"message"`
}

type lookupResult struct {
	Records []record      `json:"records"`
	Errors  []recordError `json:"errors"`
}

// recordChange sets one record. Value is text, a number or a boolean.
type recordChange struct {
	Name  string `json:"name"`
	Value any    `json:"value"`
}

type setParams struct {
	Records []recordChange `json:"records"`
}

type setResult struct {
	Changed []string `json:"changed"`
}

type reloadParams struct {
	// Token names the reload for get_reload_config_status.
	Token string `json:"token,omitempty"`
	Force bool   `json:"force,omitempty"`
	// Inline is configuration as in a file, which comes on top of the files for this reload.
	Inline string `json:"inline,omitempty"`
}

type reloadStatusParams struct {
	Token string `json:"token,omitempty"`
	Count int    `json:"count,omitempty"`
}

// configMethods look at and change the configuration of this agent.
func (n *rpcNode) configMethods() []operatorMethod {
	lookup := newOperatorMethod("admin_lookup_records", "keys of the configuration by name or regular expression; values of secrets are withheld",
		(*acl.ACL).AllowAgentRead, n.lookupRecords)
	lookup.Examples = []jsonrpc.Example{{Params: json.RawMessage(`{"records":[{"name":"log_level"},{"regex":"^rpc\\."}]}`)}}
	lookup.Params = recordsSchema(paramsFor[recordQuery]())
	lookup.Parallel, lookup.Errata = true, recordErrata
	set := newOperatorMethod("admin_config_set_records", "set keys of the configuration until the agent stops or reloads: all of them or none",
		(*acl.ACL).AllowAgentWrite, n.setRecords)
	set.Examples = []jsonrpc.Example{{Params: json.RawMessage(`{"records":[{"name":"log_level","value":"DEBUG"}]}`)}}
	set.Params = recordsSchema(paramsFor[recordChange]())
	set.Privileged, set.Errata = true, recordErrata
	reload := newOperatorMethod("admin_config_reload", "read the configuration files again, and what is given inline on top of them; answers at once, get_reload_config_status tells the outcome",
		(*acl.ACL).AllowAgentWrite, n.reloadConfig)
	reload.Privileged, reload.Errata = true, reloadErrata
	status := newOperatorMethod("get_reload_config_status", "the reload with this token, or the newest ones, with their steps",
		(*acl.ACL).AllowAgentRead, n.reloadStatus)
	status.Parallel, status.Errata = true, reloadErrata
	return []operatorMethod{lookup, set, reload, status}
}

// maxRecords bounds the queries or changes of one call: each query may match all records.
const maxRecords = 256

// recordsSchema is that of parameters with a list of such items.
func recordsSchema(item json.RawMessage) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"type":"object","required":["records"],"additionalProperties":false,"properties":{"records":{"type":["array","null"],"maxItems":%d,"items":%s}}}`, maxRecords, item))
}

func (n *rpcNode) lookupRecords(_ context.Context, p lookupParams) (lookupResult, error) {
	out := lookupResult{Records: []record{}, Errors: []recordError{}}
	all := records(n.present())
	for _, q := range p.Records {
		found, err := matchRecords(all, q)
		if err != nil {
			out.Errors = append(out.Errors, *err)
			continue
		}
		out.Records = append(out.Records, found...)
	}
	return out, nil
}

func matchRecords(all []record, q recordQuery) ([]record, *recordError) {
	if (q.Name == "") == (q.Regex == "") {
		return nil, &recordError{q.Name + q.Regex, errataRecordName, "give exactly one of name and regex"}
	}
	match := func(r record) bool { return r.Name == q.Name }
	if q.Regex != "" {
		re, err := regexp.Compile(q.Regex)
		if err != nil {
			return nil, &recordError{q.Regex, errataRecordName, err.Error()}
		}
		match = func(r record) bool { return re.MatchString(r.Name) }
	}
	var out []record
	for _, r := range all {
		if match(r) {
			out = append(out, r)
		}
	}
	if out == nil {
		return nil, &recordError{q.Name + q.Regex, errataRecordNotFound, "no such record"}
	}
	return out, nil
}

// present returns the configuration with what was changed while the agent runs. It is
// the caller's, but for its maps and lists.
func (n *rpcNode) present() *Config {
	c := *n.config
	if r := n.reload.Load(); r != nil && r.takenOver != nil {
		r.takenOver(&c)
	}
	if level := n.logger.GetLevel(); level != hclog.NoLevel {
		c.LogLevel = strings.ToUpper(level.String())
	}
	return &c
}

func (n *rpcNode) setRecords(_ context.Context, p setParams) (setResult, error) {
	defer n.change()()
	next := n.present()
	all := records(next)
	var problems []jsonrpc.Detail
	var names []string
	for i, r := range p.Records {
		bad := func(code int, msg string) {
			problems = append(problems, jsonrpc.Detail{Code: code, Field: fmt.Sprintf("/records/%d", i), Message: r.Name + ": " + msg, Kind: errs.Invalid})
		}
		switch {
		case !slices.ContainsFunc(all, func(have record) bool { return have.Name == r.Name }):
			bad(errataRecordNotFound, "no such record")
		case !settable(r.Name):
			bad(errataRecordWrite, "cannot be set while the agent runs: change the file and restart it")
		case r.Name == recordLogLevel && !validLevel(fmt.Sprint(r.Value)):
			bad(errataRecordValue, "must be trace, debug, info, warn or error")
		default:
			if err := setRecord(next, r); err != nil {
				bad(errataRecordValue, err.Error())
			}
		}
		names = append(names, r.Name)
	}
	for _, bad := range next.Limits.RequestLimits.problems() {
		problems = append(problems, jsonrpc.Detail{Code: errataRecordValue, Message: bad.msg, Kind: errs.Invalid})
	}
	if problems != nil {
		return setResult{}, jsonrpc.Failed(problems...)
	}
	if slices.ContainsFunc(names, func(name string) bool { return name != recordLogLevel }) {
		r := n.reload.Load()
		if r == nil {
			return setResult{}, errs.New(errs.Unavailable, "the agent is starting: try again")
		}
		if err := r.setLimits(next); err != nil {
			return setResult{}, err
		}
	}
	n.logger.SetLevel(hclog.LevelFromString(next.LogLevel))
	return setResult{Changed: list(names)}, nil
}

// change keeps others from changing what is in force, a reload too, until the
// function that it returns is called.
func (n *rpcNode) change() (done func()) {
	n.setting.Lock()
	r := n.reload.Load()
	if r == nil || r.changing == nil {
		return n.setting.Unlock
	}
	r.changing.Lock()
	return func() {
		r.changing.Unlock()
		n.setting.Unlock()
	}
}

// setRecord changes one record of c, by the rules of configuration files.
func setRecord(c *Config, r recordChange) error {
	var tree any = r.Value
	for _, key := range slices.Backward(strings.Split(r.Name, ".")) {
		tree = map[string]any{key: tree}
	}
	text, err := json.Marshal(tree)
	if err != nil {
		return err
	}
	d := &configDecoder{}
	d.source(c, "value", text)
	return problemsError(d.problems)
}

// validLevel reports whether the log level can be set by a call. Off is for the
// configuration: it would hide who set it.
func validLevel(level string) bool {
	l := hclog.LevelFromString(level)
	return l != hclog.NoLevel && l != hclog.Off
}

// reloader reads the configuration again and takes over what can change.
type reloader struct {
	// read reads the files, and on top of them a text in the form of one, "" for none.
	read  func(inline string) (*Config, error)
	steps []reloadStep
	// takenOver copies into a configuration what was taken over since the start.
	takenOver func(*Config)
	// setLimits takes over the limits of requests; changing is held by whoever calls it
	// or a step holds it itself.
	setLimits func(*Config) error
	changing  sync.Locker
}

// reloadConfig begins a reload. The steps are those of SIGHUP.
func (n *rpcNode) reloadConfig(ctx context.Context, p reloadParams) (operationRef, error) {
	r := n.reload.Load()
	if r == nil {
		return operationRef{}, errs.New(errs.Unavailable, "the agent is starting: try again")
	}
	spec := operationSpec{kind: "reload", name: "reload the configuration", caller: jsonrpc.CallerOf(ctx).String(),
		token: p.Token, prefix: "rldtk-", steps: []string{"read and check the files"}, alone: true, force: p.Force}
	for _, step := range r.steps {
		spec.steps = append(spec.steps, step.name)
	}
	return n.operations.begin(spec, func(_ context.Context, run *operationRun) error {
		var c *Config
		err := run.step(0, func() (err error) {
			c, err = r.read(p.Inline)
			return err
		})
		if err != nil {
			return err
		}
		var all []error
		for i, step := range r.steps {
			all = append(all, run.step(i+1, func() error { return step.apply(c) }))
		}
		if waiting := changedRecords(n.started, c); len(waiting) > 0 {
			run.say("take effect when the agent starts again: " + strings.Join(waiting, ", "))
		}
		n.logger.Info("configuration reloaded", "log_level", c.LogLevel, "by", spec.caller)
		return errors.Join(all...)
	})
}

// changedRecords names the keys that differ and that a reload does not apply.
func changedRecords(old, next *Config) []string {
	var out []string
	was := records(old)
	for i, r := range records(next) {
		if !r.Reload && !reflect.DeepEqual(was[i].real, r.real) {
			out = append(out, r.Name)
		}
	}
	return out
}

func (n *rpcNode) reloadStatus(_ context.Context, p reloadStatusParams) (operationsResult, error) {
	count := p.Count
	if count < 0 {
		return operationsResult{}, jsonrpc.InvalidParams("/count", "must not be negative; without it the newest is shown")
	}
	if p.Token == "" && count == 0 {
		count = 1
	}
	found := n.operations.find(func(o *operation) bool {
		return o.Kind == "reload" && (p.Token == "" || o.Token == p.Token)
	}, count)
	switch {
	case len(found) > 0:
		return operationsResult{Operations: found}, nil
	case p.Token != "":
		return operationsResult{}, jsonrpc.Failed(jsonrpc.Detail{Code: errataTokenUnknown, Field: "/token",
			Message: "no reload has this token", Kind: errs.NotFound})
	}
	return operationsResult{}, jsonrpc.Failed(jsonrpc.Detail{Code: errataNoOperation, Message: "nothing was reloaded yet", Kind: errs.NotFound})
}
