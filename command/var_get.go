package command

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/api"
)

// varGet reads a variable.
type varGet struct{ out, item string }

func (*varGet) about() about {
	return about{
		synopsis: "read a variable",
		usage:    "[options] <path>",
		text:     "Reads a variable and prints it with its items in clear.",
		examples: [][2]string{
			{"Read it", "cairn var get app/db"},
			{"Take out one value", "cairn var get -item pass app/db"},
			{"See whether it exists", "cairn var get -out none app/db"},
			{"Use a template", "cairn var get -t '{{.Items.user}}:{{.Items.pass}}' app/db"},
		},
		exits: []exit{{exitFailed, "also when there is no such variable or item"}},
		min:   1, max: 1,
		groups: withAgent | withNamespace | withData,
		args:   variablePaths,
	}
}

func (c *varGet) flags(f *flags) {
	formats := []string{outNone, outTable, outHCL, outJSON, outTemplate}
	f.text(&c.out, "out", "format", "How to print it, "+oneOfValues(formats...)+". Default: table.", oneOf(formats...))
	f.text(&c.item, "item", "key", "Print only the value of this item, followed by a newline only on a terminal.")
}

func (c *varGet) run(s *session, args []string) error {
	format, err := s.outFormat(c.out, outTable, outNone, outTable, outHCL, outJSON)
	if err != nil {
		return err
	}
	if c.item != "" && (c.out != "" || s.json || s.template != "") {
		return usagef("-item cannot be combined with -out, -json or -t")
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	v, _, err := client.Variables().Read(args[0], s.query())
	switch {
	case errors.Is(err, api.ErrVariablePathNotFound):
		return hinted(failed(args[0], err), "`cairn var list` shows what there is; another namespace is given with -namespace")
	case err != nil:
		return failed("reading "+args[0], err)
	case c.item != "":
		return c.printItem(s, v)
	}
	return s.printVariable(format, v)
}

func (c *varGet) printItem(s *session, v *api.Variable) error {
	value, ok := v.Items[c.item]
	if !ok {
		keys := strings.Join(slices.Sorted(maps.Keys(v.Items)), ", ")
		return hinted(fmt.Errorf("%s has no item %q", v.Path, c.item), "it has "+clean(keys))
	}
	if isTerminal(s.stdout) {
		value += "\n"
	}
	_, err := io.WriteString(s.stdout, value)
	return err
}
