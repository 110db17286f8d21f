package command

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// varInit writes an example specification.
type varInit struct {
	out   string
	quiet bool
}

func (*varInit) about() about {
	return about{
		synopsis: "write a sample variable file",
		usage:    "[options] [file]",
		text:     "Writes a specification to start from, to variable.hcl or variable.json unless a name is given. With - it goes to standard output. A file that exists is left alone.",
		examples: [][2]string{
			{"Start a specification", "cairn var init app.hcl"},
			{"Pipe it", "cairn var init -out json -"},
		},
		max:    1,
		groups: 0,
		args:   anyFile,
	}
}

func (c *varInit) flags(f *flags) {
	f.text(&c.out, "out", "format", "Format, "+oneOfValues(outHCL, outJSON)+". Default: by the name of the file, else hcl.", oneOf(outHCL, outJSON))
	f.boolean(&c.quiet, "quiet", "Write no comments and say nothing.")
}

const sampleComments = `# A variable for ` + "`cairn var put @FILE`" + `. Items are encrypted where they are kept.

# namespace is where the variable lives; -namespace wins over it.
# path is its name: letters, digits, "-", "_", "~" and "/", at most 128.
# modify_index, as ` + "`cairn var get -out hcl`" + ` prints it, makes the put fail if somebody was faster.
`

const sampleHCL = `namespace = "default"
path      = "app/db"

items {
  user = "web"
  pass = "s3cret"
}
`

const sampleJSON = `{
    "Namespace": "default",
    "Path": "app/db",
    "Items": {
        "user": "web",
        "pass": "s3cret"
    }
}
`

func (c *varInit) run(s *session, args []string) error {
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	if c.out == "" {
		c.out = outHCL
		if strings.HasSuffix(name, ".json") {
			c.out = outJSON
		}
	}
	text := sampleHCL
	switch {
	case c.out == outJSON:
		text = sampleJSON
	case c.out != outHCL:
		return usagef("-out: %q is not %s", c.out, oneOfValues(outHCL, outJSON))
	case !c.quiet:
		text = sampleComments + "\n" + text
	}
	if name == "-" {
		_, err := io.WriteString(s.stdout, text)
		return err
	}
	if name == "" {
		name = "variable." + c.out
	}
	if err := writeNew(name, text); err != nil {
		return err
	}
	if !c.quiet {
		s.say("wrote %s: change it, then run `cairn var put @%s`", name, name)
	}
	return nil
}

// writeNew writes a file that must not exist, readable by the owner only.
func writeNew(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if os.IsExist(err) {
		return hinted(fmt.Errorf("%s exists already", name), "remove it or name another file")
	} else if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
