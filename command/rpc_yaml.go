package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// maxYAML bounds the values of a document, so that aliases of aliases end.
const maxYAML = 1 << 20

// yamlToJSON returns text, JSON or YAML, as one JSON value without white space
// around it. JSON is kept as it is; of YAML, numbers keep their digits.
func yamlToJSON(text []byte) (json.RawMessage, error) {
	if trimmed := bytes.TrimSpace(text); json.Valid(trimmed) {
		return trimmed, nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, errors.New("it is empty")
	case err != nil:
		return nil, fmt.Errorf("it is neither JSON nor YAML: %w", err)
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("it holds more than one document")
	}
	y := yamlConverter{}
	if err := y.value(&doc); err != nil {
		return nil, err
	}
	return y.out.Bytes(), nil
}

// yamlConverter writes YAML nodes as JSON.
type yamlConverter struct {
	out bytes.Buffer
	n   int
}

func (y *yamlConverter) value(n *yaml.Node) error {
	if y.n++; y.n > maxYAML {
		return fmt.Errorf("line %d: more than %d values", n.Line, maxYAML)
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return y.value(n.Content[0])
	case yaml.AliasNode:
		return y.value(n.Alias)
	case yaml.SequenceNode:
		return y.sequence(n)
	case yaml.MappingNode:
		return y.mapping(n)
	}
	return y.scalar(n)
}

func (y *yamlConverter) sequence(n *yaml.Node) error {
	y.out.WriteByte('[')
	for i, e := range n.Content {
		if i > 0 {
			y.out.WriteByte(',')
		}
		if err := y.value(e); err != nil {
			return err
		}
	}
	y.out.WriteByte(']')
	return nil
}

func (y *yamlConverter) mapping(n *yaml.Node) error {
	seen := map[string]bool{}
	y.out.WriteByte('{')
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case key.Kind != yaml.ScalarNode:
			return fmt.Errorf("line %d: a name must be text", key.Line)
		case key.Tag == "!!merge":
			return fmt.Errorf("line %d: << is not supported: write the values out", key.Line)
		case seen[key.Value]:
			return fmt.Errorf("line %d: %q is given twice", key.Line, key.Value)
		}
		seen[key.Value] = true
		if i > 0 {
			y.out.WriteByte(',')
		}
		y.text(key.Value)
		y.out.WriteByte(':')
		if err := y.value(n.Content[i+1]); err != nil {
			return err
		}
	}
	y.out.WriteByte('}')
	return nil
}

func (y *yamlConverter) text(s string) {
	raw, _ := json.Marshal(s) // a string encodes
	y.out.Write(raw)
}

func (y *yamlConverter) scalar(n *yaml.Node) error {
	switch n.ShortTag() {
	case "!!null":
		y.out.WriteString("null")
	case "!!bool":
		var b bool
		if err := n.Decode(&b); err != nil {
			return err
		}
		y.out.WriteString(strconv.FormatBool(b))
	case "!!int", "!!float":
		return y.number(n)
	case "!!str", "!!timestamp":
		y.text(n.Value)
	default:
		return fmt.Errorf("line %d: a value of type %s has no form in JSON", n.Line, n.ShortTag())
	}
	return nil
}

// number keeps what JSON would write the same way, and converts the rest: 0x1f, 1_000, .5.
func (y *yamlConverter) number(n *yaml.Node) error {
	if json.Valid([]byte(n.Value)) {
		y.out.WriteString(n.Value)
		return nil
	}
	var i int64
	if n.ShortTag() == "!!int" && n.Decode(&i) == nil {
		y.out.WriteString(strconv.FormatInt(i, 10))
		return nil
	}
	var f float64
	if err := n.Decode(&f); err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return fmt.Errorf("line %d: %s has no form in JSON", n.Line, n.Value)
	}
	raw, err := json.Marshal(f)
	y.out.Write(raw)
	return err
}
