package command

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// flags collects the options of one command: how to parse, to explain and to complete them.
type flags struct {
	set  *flag.FlagSet
	docs []flagDoc
	// section is the heading under which new options are listed, "" for the command's own.
	section string
}

// flagDoc is what people and completion need to know of an option.
type flagDoc struct {
	section, name string
	// value names the value in the help, "" for a switch.
	value, usage string
	predict      predict
}

func newFlags(name string) *flags {
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.Usage = func() {}
	return &flags{set: set}
}

func (f *flags) doc(name, value, usage string, p []predict) {
	d := flagDoc{section: f.section, name: name, value: value, usage: usage}
	if len(p) > 0 {
		d.predict = p[0]
	}
	f.docs = append(f.docs, d)
}

// boolean declares a switch; the value of p is its default.
func (f *flags) boolean(p *bool, name, usage string) {
	f.set.BoolVar(p, name, *p, usage)
	f.doc(name, "", usage, nil)
}

// text declares an option with a string; the value of p is its default.
func (f *flags) text(p *string, name, value, usage string, predicts ...predict) {
	f.set.StringVar(p, name, *p, usage)
	f.doc(name, value, usage, predicts)
}

// number declares an option with an unsigned number.
func (f *flags) number(p *uint64, name, value, usage string) {
	f.set.Func(name, usage, func(v string) error {
		n, err := strconv.ParseUint(v, 0, 64)
		if err != nil {
			return errors.New("it takes a whole number, 0 or more")
		}
		*p = n
		return nil
	})
	f.doc(name, value, usage, nil)
}

// duration declares an option with a time such as "15s".
func (f *flags) duration(p *time.Duration, name, usage string) {
	f.set.Func(name, usage, func(v string) error {
		d, err := time.ParseDuration(v)
		if err != nil {
			return errors.New("it takes numbers with units, such as 90s, 15m, 1h30m, or 48h for two days")
		}
		*p = d
		return nil
	})
	f.doc(name, "duration", usage, nil)
}

// list declares an option that may be repeated.
func (f *flags) list(p *[]string, name, value, usage string, predicts ...predict) {
	f.set.Func(name, usage, func(v string) error {
		*p = append(*p, v)
		return nil
	})
	f.doc(name, value, usage, predicts)
}

// adopt documents the options of a set that is parsed elsewhere.
func (f *flags) adopt(set *flag.FlagSet) {
	set.VisitAll(func(g *flag.Flag) {
		value, usage := flag.UnquoteUsage(g)
		if usage != "" {
			usage = strings.ToUpper(usage[:1]) + usage[1:] + "."
		}
		f.doc(g.Name, value, usage, []predict{anyFile})
	})
}

// given reports whether the option was on the command line.
func (f *flags) given(name string) bool {
	found := false
	f.set.Visit(func(g *flag.Flag) { found = found || g.Name == name })
	return found
}

// givenAny reports whether one of the options was on the command line.
func (f *flags) givenAny(names ...string) bool { return slices.ContainsFunc(names, f.given) }

// parse sets the options and returns the arguments. Options may stand before,
// between and after arguments; everything behind "--" is an argument. With
// child, and without a "--", options end at the first argument.
func (f *flags) parse(words []string, child bool) ([]string, error) {
	head, tail, dashed := words, []string(nil), false
	if i := slices.Index(words, "--"); i >= 0 {
		head, tail, dashed = words[:i], words[i+1:], true
	}
	var args []string
	for {
		if err := f.set.Parse(head); err != nil {
			return nil, usagef("%s", strings.ReplaceAll(err.Error(), "flag provided but not defined: ", "unknown option "))
		}
		rest := f.set.Args()
		if len(rest) == 0 || (child && !dashed) {
			return append(append(args, rest...), tail...), nil
		}
		args, head = append(args, rest[0]), rest[1:]
	}
}

// take sets what the words of an unfinished line say, as far as that makes sense: it
// is for completion. A shell hands over its quotes. With child, options end at the first argument.
func (f *flags) take(words []string, child bool) {
	for len(words) > 0 && words[0] != "--" {
		word := words[0]
		words = words[1:]
		name, value, joined := strings.Cut(strings.TrimLeft(word, "-"), "=")
		option := strings.HasPrefix(word, "-") && name != ""
		if !option && child {
			return
		}
		known := f.set.Lookup(name)
		if !option || known == nil {
			continue
		}
		if b, ok := known.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() {
			if !joined {
				value = "true"
			}
		} else if !joined && len(words) > 0 {
			value, words = words[0], words[1:]
		}
		_ = f.set.Set(name, strings.Trim(value, `"'`)) // a value that is none is told when the command runs
	}
}

// oneOfValues is the usage text of a closed set of values.
func oneOfValues(values ...string) string {
	return fmt.Sprintf("one of %s", strings.Join(values, ", "))
}
