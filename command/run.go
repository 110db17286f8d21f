package command

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/cli"

	"github.com/cairn-project/cairn/internal/errs"
)

// program is the name of the binary, as completion needs it.
const program = "cairn"

// AgentFunc runs an agent until shutdown is closed and returns the exit code.
// args are the words after "agent".
type AgentFunc func(args []string, stdout, stderr io.Writer, shutdown <-chan struct{}) int

// Options is what the process hands to the command line. Run owns none of it.
type Options struct {
	// Version is the release without a leading "v"; Revision is the commit, "" when unknown.
	Version  string
	Revision string
	// Agent runs the command agent; nil leaves a build that can only be a client.
	Agent AgentFunc
	// AgentFlags returns the options of the agent, for its help and completion;
	// nil when Agent is.
	AgentFlags func() *flag.FlagSet
	// Shutdown is closed when the agent is to stop; nil leaves that to signals.
	Shutdown <-chan struct{}

	Stdin io.Reader
	// Stdout and Stderr must be safe for concurrent use, as a child process may
	// write to them as well.
	Stdout, Stderr io.Writer
	// Getenv reads one environment variable, nil for os.Getenv.
	Getenv func(string) string
}

// Run executes one command line, the name of the program cut off, and returns the exit code.
func Run(args []string, opts Options) int {
	if opts.Getenv == nil {
		opts.Getenv = os.Getenv
	}
	out := &stdout{Writer: opts.Stdout}
	opts.Stdout = out
	c := &cli.CLI{
		Name:           program,
		Args:           args,
		Version:        versionText(opts.Version, opts.Revision),
		Commands:       factories(&opts),
		HiddenCommands: hiddenNames(),
		Autocomplete:   true,
		HelpFunc:       rootHelp,
		HelpWriter:     confident{out},
		ErrorWriter:    opts.Stderr,
	}
	code, err := c.Run()
	if err != nil {
		fmt.Fprintf(opts.Stderr, "error: %s\n", errs.InOneLine(err))
		return exitFailed
	}
	if code == exitOK && slices.Contains(args, "-autocomplete-install") {
		fmt.Fprintf(opts.Stderr, "completion is set up: start a new shell\n")
	}
	if name := c.Subcommand(); code == exitUnknown && name != "" {
		fmt.Fprintf(opts.Stderr, "\nerror: unknown command %s\n", shown(name))
	}
	if err := out.lost(); err != nil && code == exitOK {
		fmt.Fprintf(opts.Stderr, "error: cannot write the output: %s\n", err)
		return exitFailed
	}
	return code
}

func factories(opts *Options) map[string]cli.CommandFactory {
	out := make(map[string]cli.CommandFactory, len(registry))
	for _, e := range registry {
		out[e.name] = func() (cli.Command, error) {
			return &runner{entry: e, act: e.new(), opts: opts}, nil
		}
	}
	return out
}

func hiddenNames() []string {
	var out []string
	for _, e := range registry {
		if e.oldNameOf != "" {
			out = append(out, e.name)
		}
	}
	return out
}

// rootHelp is the answer to a bare "cairn" and to a command nobody knows.
func rootHelp(commands map[string]cli.CommandFactory) string {
	var b strings.Builder
	b.WriteString("Usage: cairn [-version] [-h] [-autocomplete-install] <command> [options] [args]\n\nCommands:\n")
	names := make([]string, 0, len(commands))
	for name := range commands {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		cmd, err := commands[name]()
		if err != nil {
			continue
		}
		fmt.Fprintf(&b, "    %-12s  %s\n", name, cmd.Synopsis())
	}
	b.WriteString("\nStart with `cairn agent -dev`; `cairn <command> -h` explains a command.")
	return b.String()
}
