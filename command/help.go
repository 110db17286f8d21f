package command

import (
	"fmt"
	"strings"
)

// helpWidth is the column at which prose wraps.
const helpWidth = 80

// helpText lays out the answer to -h: usage, what it does, examples, options by
// section and exit codes.
func helpText(name string, a about, f *flags) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s\n\n", strings.TrimSpace(program+" "+name+" "+a.usage))
	for i, par := range strings.Split(a.text, "\n\n") {
		if i > 0 {
			b.WriteString("\n")
		}
		if strings.HasPrefix(par, " ") {
			b.WriteString(par + "\n")
			continue
		}
		writeWrapped(&b, par, "  ")
	}
	b.WriteString("\nExamples:\n")
	for _, e := range a.examples {
		fmt.Fprintf(&b, "\n  %s:\n\n      $ %s\n", e[0], e[1])
	}
	writeOptions(&b, f)
	if !a.raw {
		b.WriteString("\nExit codes:\n\n  0  success\n  1  wrong usage or failure\n")
	} else {
		b.WriteString("\nExit codes:\n\n  0  stopped as asked\n  1  could not start or failed\n")
	}
	for _, e := range a.exits {
		fmt.Fprintf(&b, "  %d  %s\n", e.code, e.when)
	}
	return strings.TrimRight(b.String(), "\n")
}

func writeOptions(b *strings.Builder, f *flags) {
	section := "\x00"
	for _, d := range f.docs {
		if d.section != section {
			section = d.section
			title := "Options"
			if section != "" {
				title = section
			}
			fmt.Fprintf(b, "\n%s:\n", title)
		}
		if d.value == "" {
			fmt.Fprintf(b, "\n  -%s\n", d.name)
		} else {
			fmt.Fprintf(b, "\n  -%s=<%s>\n", d.name, d.value)
		}
		writeWrapped(b, d.usage, "      ")
	}
}

func writeWrapped(b *strings.Builder, text, indent string) {
	line := indent
	for _, w := range strings.Fields(text) {
		if len(line) > len(indent) && len(line)+1+len(w) > helpWidth {
			b.WriteString(line + "\n")
			line = indent
		}
		if len(line) > len(indent) {
			line += " "
		}
		line += w
	}
	if len(line) > len(indent) {
		b.WriteString(line + "\n")
	}
}
