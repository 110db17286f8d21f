package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/hashicorp/nomad/api"
	"github.com/zclconf/go-cty/cty"
)

// The formats in which a variable is printed.
const (
	outNone     = "none"
	outTable    = "table"
	outHCL      = "hcl"
	outJSON     = "json"
	outTemplate = "go-template"
	outTerse    = "terse"
)

// outFormat settles -out against -json and -t; def applies when none was given.
func (s *session) outFormat(out, def string, allowed ...string) (string, error) {
	switch {
	case s.json && (out == "" || out == outJSON):
		return outJSON, nil
	case s.template != "" && (out == "" || out == outTemplate):
		return outTemplate, nil
	case s.json || s.template != "":
		return "", usagef("-out %s cannot be combined with -json or -t", out)
	case out == outTemplate:
		return "", usagef("-out %s needs a template: give it with -t", outTemplate)
	case out == "":
		return def, nil
	}
	for _, a := range allowed {
		if out == a {
			return out, nil
		}
	}
	return "", usagef("-out: %q is not %s", out, oneOfValues(allowed...))
}

// printVariable prints v in one of the formats.
func (s *session) printVariable(format string, v *api.Variable) error {
	switch format {
	case outNone:
		return nil
	case outJSON:
		return s.printJSON(v)
	case outTemplate:
		return s.printTemplate(v)
	case outHCL:
		_, err := s.stdout.Write(variableHCL(v))
		return err
	}
	s.pairs(
		[2]string{"Namespace", v.Namespace},
		[2]string{"Path", v.Path},
		[2]string{"Create Time", nanoTime(v.CreateTime)},
		[2]string{"Modify Time", nanoTime(v.ModifyTime)},
		[2]string{"Check Index", strconv.FormatUint(v.ModifyIndex, 10)},
	)
	if v.Lock != nil {
		s.pairs([2]string{"Lock TTL", v.Lock.TTL}, [2]string{"Lock Delay", v.Lock.LockDelay})
	}
	s.say("")
	s.title("Items")
	s.pairs(sortedPairs(v.Items)...)
	return nil
}

func variableHCL(v *api.Variable) []byte {
	f := hclwrite.NewEmptyFile()
	body := f.Body()
	body.SetAttributeValue("namespace", cty.StringVal(v.Namespace))
	body.SetAttributeValue("path", cty.StringVal(v.Path))
	body.SetAttributeValue("create_index", cty.NumberUIntVal(v.CreateIndex))
	body.SetAttributeValue("modify_index", cty.NumberUIntVal(v.ModifyIndex))
	body.SetAttributeValue("create_time", cty.NumberIntVal(v.CreateTime))
	body.SetAttributeValue("modify_time", cty.NumberIntVal(v.ModifyTime))
	body.AppendNewline()
	writeTexts(body, "items", v.Items)
	return f.Bytes()
}

// variableFile is a specification in HCL. Indexes and times are those a get
// printed; only the modify index means something when written back.
type variableFile struct {
	Namespace   string            `hcl:"namespace,optional"`
	Path        string            `hcl:"path,optional"`
	CreateIndex uint64            `hcl:"create_index,optional"`
	ModifyIndex uint64            `hcl:"modify_index,optional"`
	CreateTime  int64             `hcl:"create_time,optional"`
	ModifyTime  int64             `hcl:"modify_time,optional"`
	ItemMap     map[string]string `hcl:"items,optional"`
	ItemBlock   *freeBlock        `hcl:"items,block"`
}

// parseVariable reads a specification; format is "hcl", "json" or "" to look at the content.
func parseVariable(src []byte, name, format string) (*api.Variable, error) {
	if format == outJSON || (format == "" && looksLikeJSON(src)) {
		return parseVariableJSON(src, name)
	}
	var f variableFile
	if err := decodeHCL(src, name, &f); err != nil {
		return nil, err
	}
	items, err := f.ItemBlock.texts(f.ItemMap)
	if err != nil {
		return nil, err
	}
	return &api.Variable{Namespace: f.Namespace, Path: f.Path, ModifyIndex: f.ModifyIndex, Items: items}, nil
}

func parseVariableJSON(src []byte, name string) (*api.Variable, error) {
	var v api.Variable
	dec := json.NewDecoder(bytes.NewReader(src))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if dec.More() {
		return nil, fmt.Errorf("%s: more than one JSON value", name)
	}
	return &api.Variable{Namespace: v.Namespace, Path: v.Path, ModifyIndex: v.ModifyIndex, Items: v.Items}, nil
}

// variableFailure explains what stopped an operation on a variable. Conflicts
// get an exit code of their own, and the items in their answer are not shown.
func variableFailure(doing, path string, err error) error {
	var cas api.ErrCASConflict
	if c, ok := err.(api.ErrCASConflict); ok {
		cas = c
	} else if !isStatus(err, http.StatusConflict) {
		return failed(doing+" "+path, err)
	}
	out := &failure{code: exitConflict}
	switch {
	case cas.Conflict == nil || cas.Conflict.Lock != nil:
		out.err = fmt.Errorf("%s %s: somebody else holds its lock", doing, path)
		out.hint = "wait until the lock is released"
	case cas.Conflict.ModifyIndex == 0:
		out.err = fmt.Errorf("%s %s: it does not exist, or somebody else holds its lock", doing, path)
		out.hint = "`cairn var get " + path + "` shows whether it exists"
	case cas.CheckIndex == 0:
		out.err = fmt.Errorf("%s %s: it exists already, with modify index %d", doing, path, cas.Conflict.ModifyIndex)
		out.hint = fmt.Sprintf("replace it with -check-index %d, or with -force whatever it holds", cas.Conflict.ModifyIndex)
	default:
		out.err = fmt.Errorf("%s %s: it changed: its modify index is %d, not %d", doing, path, cas.Conflict.ModifyIndex, cas.CheckIndex)
		out.hint = fmt.Sprintf("look at it with `cairn var get %s`, then use -check-index %d or drop the check", path, cas.Conflict.ModifyIndex)
	}
	return out
}
