package command

import (
	"math"
	"net/http"
	"strconv"

	"github.com/hashicorp/nomad/api"
)

// varList lists variables without their items.
type varList struct {
	out, token, filter string
	perPage            uint64
}

func (*varList) about() about {
	return about{
		synopsis: "show variable paths",
		usage:    "[options] [prefix]",
		text:     "Lists the variables whose path starts with the prefix, as far as the token may see them. With -namespace='*' those of all namespaces.",
		examples: [][2]string{
			{"List what starts with app/", "cairn var list app/"},
			{"Only the paths, for a script", "cairn var list -out terse app/"},
			{"A page of ten", "cairn var list -per-page 10"},
			{"Written since an index", "cairn var list -filter 'ModifyIndex > 1000'"},
		},
		max:    1,
		groups: withAgent | withNamespace | withData,
		args:   variablePaths,
	}
}

func (c *varList) flags(f *flags) {
	formats := []string{outTable, outTerse, outJSON, outTemplate}
	f.text(&c.out, "out", "format", "How to print it, "+oneOfValues(formats...)+". Default: table.", oneOf(formats...))
	f.number(&c.perPage, "per-page", "count", "How many to print at most; all by default.")
	f.text(&c.token, "page-token", "token", "Where the page starts, as the page before said on standard error.")
	f.text(&c.filter, "filter", "expression", "Print only what the expression holds for.")
}

func (c *varList) run(s *session, args []string) error {
	format, err := s.outFormat(c.out, outTable, outTable, outTerse, outJSON)
	if err != nil {
		return err
	}
	if c.perPage > math.MaxInt32 {
		return usagef("-per-page: at most %d", math.MaxInt32)
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	q := s.query()
	q.PerPage, q.NextToken, q.Filter = int32(c.perPage), c.token, c.filter
	if len(args) > 0 {
		q.Prefix = args[0]
	}
	list, meta, err := client.Variables().List(q)
	if err != nil {
		if c.filter != "" && isStatus(err, http.StatusBadRequest) {
			return hinted(failed("listing variables", err), "check -filter; an example is: Path contains \"db\"")
		}
		return failed("listing variables", err)
	}
	if err := s.printPaths(format, list); err != nil {
		return err
	}
	if meta.NextToken != "" {
		s.note("there is more: go on with -page-token '%s'", clean(meta.NextToken))
	}
	return nil
}

func (s *session) printPaths(format string, list []*api.VariableMetadata) error {
	if list == nil {
		list = []*api.VariableMetadata{}
	}
	switch format {
	case outJSON:
		return s.printJSON(list)
	case outTemplate:
		return s.printTemplate(list)
	case outTerse:
		for _, v := range list {
			s.say("%s", clean(v.Path))
		}
		return nil
	}
	t := newTable("Namespace", "Path", "Modify Index", "Last Updated")
	for _, v := range list {
		t.add(v.Namespace, v.Path, strconv.FormatUint(v.ModifyIndex, 10), nanoTime(v.ModifyTime))
	}
	s.print(t, "no variables found")
	return nil
}
