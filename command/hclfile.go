package command

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// maxFile bounds the size of a specification in bytes; servers take much less.
const maxFile = 4 << 20

// readFile reads a specification; "-" means standard input.
func (s *session) readFile(name string) ([]byte, error) {
	in := s.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	if in == nil {
		return nil, nil
	}
	src, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if len(src) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxFile)
	}
	return src, nil
}

// looksLikeJSON tells the two formats apart by the first character that is not blank.
func looksLikeJSON(src []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(src), []byte("{"))
}

// decodeHCL parses src into the struct that out points to, by its hcl tags.
func decodeHCL(src []byte, name string, out any) error {
	file, diags := hclsyntax.ParseConfig(src, name, hcl.InitialPos)
	if !diags.HasErrors() {
		diags = append(diags, gohcl.DecodeBody(file.Body, nil, out)...)
	}
	return hclProblems(diags)
}

// hclProblems turns every error of diags into one line, nil when there is none.
func hclProblems(diags hcl.Diagnostics) error {
	var lines []string
	for _, d := range diags {
		if d.Severity != hcl.DiagError {
			continue
		}
		text := lowerFirst(d.Summary)
		if d.Detail != "" {
			text += ": " + lowerFirst(d.Detail)
		}
		if d.Subject != nil {
			text = d.Subject.String() + ": " + text
		}
		lines = append(lines, text)
	}
	if lines == nil {
		return nil
	}
	return errors.New(strings.Join(lines, "\n"))
}

// freeBlock is a block whose names the user chooses.
type freeBlock struct {
	Body hcl.Body `hcl:",remain"`
}

// texts joins a block and an attribute of the same meaning into one map; nil when both are absent.
func (b *freeBlock) texts(attribute map[string]string) (map[string]string, error) {
	if b == nil {
		return attribute, nil
	}
	out := map[string]string{}
	maps.Copy(out, attribute)
	attrs, diags := b.Body.JustAttributes()
	for name, a := range attrs {
		v, more := a.Expr.Value(nil)
		diags = append(diags, more...)
		if more.HasErrors() {
			continue
		}
		text, err := convert.Convert(v, cty.String)
		if err != nil || text.IsNull() || !text.IsKnown() {
			diags = append(diags, &hcl.Diagnostic{
				Severity: hcl.DiagError, Subject: a.Expr.Range().Ptr(),
				Summary: fmt.Sprintf("value of %q must be a string", name),
			})
			continue
		}
		out[name] = text.AsString()
	}
	return out, hclProblems(diags)
}

// writeTexts appends a map to an HCL body: as a block if every key can be a
// name there, else as an attribute with quoted keys.
func writeTexts(body *hclwrite.Body, name string, m map[string]string) {
	keys := slices.Sorted(maps.Keys(m))
	asBlock := !slices.ContainsFunc(keys, func(k string) bool { return !hclsyntax.ValidIdentifier(k) })
	if asBlock {
		block := body.AppendNewBlock(name, nil)
		for _, k := range keys {
			block.Body().SetAttributeValue(k, cty.StringVal(m[k]))
		}
		return
	}
	values := make(map[string]cty.Value, len(m))
	for k, v := range m {
		values[k] = cty.StringVal(v)
	}
	body.SetAttributeValue(name, cty.ObjectVal(values))
}
