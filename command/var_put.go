package command

import (
	"fmt"
	"strings"

	"github.com/hashicorp/nomad/api"
)

// varPut writes a variable.
type varPut struct {
	f          *flags
	in, out    string
	force      bool
	checkIndex uint64
	verbose    bool
}

func (*varPut) about() about {
	return about{
		synopsis: "create or update a variable",
		usage:    "[options] <path> [@file | -] [key=value…]",
		text: "Writes all items of a variable; items that are not given are gone afterwards. Without -force or -check-index only a variable that does not exist yet is written," +
			" or, from a file that `var get` printed, one that nobody changed since." +
			"\n\nA specification comes from @file or, with -, from standard input. Then the path may stand in it; arguments win over what it says." +
			"\n\nA value of the form @file is read from that file, - is read from standard input, and a leading backslash keeps an @ or a - as it is.",
		examples: [][2]string{
			{"Create a variable", "cairn var put app/db user=web pass=s3cret"},
			{"Replace it whatever it holds", "cairn var put -force app/db user=web pass=changed"},
			{"Keep a certificate", "cairn var put app/tls cert=@cert.pem key=@key.pem"},
			{"Change one by hand, safely", "cairn var get -out hcl app/db > db.hcl && $EDITOR db.hcl && cairn var put @db.hcl"},
		},
		exits: []exit{{exitConflict, "conflict: it exists, changed meanwhile, or somebody holds its lock"}},
		min:   1, max: -1,
		groups: withAgent | withNamespace | withData,
		args:   either(variablePaths, anyFile),
	}
}

func (c *varPut) flags(f *flags) {
	c.f = f
	f.text(&c.in, "in", "format", "Format of the specification, hcl or json; by its content if not given.", oneOf(outHCL, outJSON))
	f.text(&c.out, "out", "format", "What to print of the result, "+oneOfValues(outNone, outTable, outHCL, outJSON, outTemplate)+". Default: none, which says the path and the modify index.",
		oneOf(outNone, outTable, outHCL, outJSON, outTemplate))
	f.boolean(&c.force, "force", "Write whatever is there.")
	f.number(&c.checkIndex, "check-index", "index", "Write only if this is the variable's modify index; 0 means that it must not exist.")
	f.boolean(&c.verbose, "verbose", "Say what is being done, on standard error.")
}

func (c *varPut) run(s *session, args []string) error {
	if c.force && c.f.given("check-index") {
		return usagef("-force and -check-index exclude each other")
	}
	if c.in != "" && c.in != outHCL && c.in != outJSON {
		return usagef("-in: %q is not %s", c.in, oneOfValues(outHCL, outJSON))
	}
	format, err := s.outFormat(c.out, outNone, outNone, outTable, outHCL, outJSON)
	if err != nil {
		return err
	}
	v, err := c.variable(s, args)
	if err != nil {
		return err
	}
	if c.f.given("check-index") {
		v.ModifyIndex = c.checkIndex
	}
	if c.verbose {
		s.note("writing %d items to %s, check index %d, force %v", len(v.Items), v.Path, v.ModifyIndex, c.force)
	}
	stored, err := c.store(s, v)
	if err != nil {
		return err
	}
	if format == outNone {
		s.say("wrote variable %s, modify index %d", stored.Path, stored.ModifyIndex)
		return nil
	}
	return s.printVariable(format, stored)
}

func (c *varPut) store(s *session, v *api.Variable) (*api.Variable, error) {
	client, err := s.client()
	if err != nil {
		return nil, err
	}
	w := s.write()
	w.Namespace = v.Namespace
	put := client.Variables().CheckedUpdate
	if c.force {
		put = client.Variables().Update
	}
	stored, _, err := put(v, w)
	if err != nil {
		return nil, variableFailure("writing", v.Path, err)
	}
	return stored, nil
}

// variable builds what to write from the arguments.
func (c *varPut) variable(s *session, args []string) (*api.Variable, error) {
	v := &api.Variable{}
	path, source := "", ""
	if !isSource(args[0]) {
		path, args = args[0], args[1:]
		if strings.Contains(path, "=") {
			return nil, usagef("an item stands where the path is expected: give the path as the first argument")
		}
	}
	if len(args) > 0 && isSource(args[0]) {
		source, args = strings.TrimPrefix(args[0], "@"), args[1:]
		src, err := s.readFile(source)
		if err != nil {
			return nil, err
		}
		if v, err = parseVariable(src, source, c.in); err != nil {
			return nil, hinted(err, "`cairn var init` writes an example")
		}
	}
	if path != "" {
		v.Path = path
	}
	if v.Path == "" {
		return nil, usagef("the path is missing: give it as the first argument or in the file")
	}
	if c.f.given("namespace") || v.Namespace == "" {
		v.Namespace = s.conn.namespace
	}
	if err := addItems(s, v, args, source == "-"); err != nil {
		return nil, err
	}
	if len(v.Items) == 0 {
		return nil, usagef("a variable needs at least one item: add key=value")
	}
	return v, nil
}

// isSource reports whether the argument names a specification.
func isSource(arg string) bool { return arg == "-" || strings.HasPrefix(arg, "@") }

// addItems adds key=value arguments; stdinUsed says that standard input is spent.
func addItems(s *session, v *api.Variable, args []string, stdinUsed bool) error {
	if v.Items == nil {
		v.Items = api.VariableItems{}
	}
	for i, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		if !ok || key == "" { // all of it may be secret
			return usagef("item %d of the command line is not of the form key=value", i+1)
		}
		switch {
		case value == "-":
			if stdinUsed {
				return usagef("standard input can be read only once")
			}
			stdinUsed = true
			src, err := s.readFile("-")
			if err != nil {
				return err
			}
			value = string(src)
		case strings.HasPrefix(value, "@"):
			src, err := s.readFile(value[1:])
			if err != nil {
				return fmt.Errorf("value of %s: %w", key, err)
			}
			value = string(src)
		case strings.HasPrefix(value, `\@`), value == `\-`:
			value = value[1:]
		}
		v.Items[key] = value
	}
	return nil
}
