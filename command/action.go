package command

import (
	"github.com/hashicorp/cli"
	"github.com/posener/complete"
)

// action is one command. A value serves one execution.
type action interface {
	about() about
	// flags declares the command's own options; they are set when run is called.
	flags(f *flags)
	// run does the work with the arguments left after the options.
	run(s *session, args []string) error
}

// about describes a command to people and to the runner.
type about struct {
	// synopsis is one line without a full stop.
	synopsis string
	// usage is what follows the name of the command.
	usage string
	// text says what the command does, in paragraphs.
	text string
	// examples are complete command lines, each with what it is good for.
	examples [][2]string
	// exits documents the codes beside 0 and 1.
	exits []exit
	// min and max bound the number of arguments; max < 0 means no bound.
	min, max int
	// groups are the shared options the command takes.
	groups group
	// args completes arguments, nil for nothing.
	args predict
	// child says that a command line to run follows the first argument, so
	// options after it belong to that.
	child bool
	// raw hands over all words unparsed, to the agent, which has options of its own.
	raw bool
}

// exit is a documented exit code.
type exit struct {
	code int
	when string
}

// The exit codes every command shares.
const (
	exitOK       = 0
	exitFailed   = 1
	exitConflict = 2
	// exitUnknown is the framework's code for a command that is not there.
	exitUnknown = 127
)

// runner is what the CLI framework sees of an action.
type runner struct {
	entry
	act  action
	opts *Options
}

var _ cli.CommandAutocomplete = (*runner)(nil)

// prepare declares all options of the action on a new session.
func (r *runner) prepare() (*session, *flags) {
	s := newSession(r.opts)
	f := newFlags(r.name)
	r.act.flags(f)
	if r.act.about().raw && r.opts.AgentFlags != nil {
		f.adopt(r.opts.AgentFlags())
	}
	s.declare(f, r.act.about().groups)
	return s, f
}

// Synopsis returns one line for the list of commands.
func (r *runner) Synopsis() string { return r.act.about().synopsis }

// Help returns the text of -h.
func (r *runner) Help() string {
	_, f := r.prepare()
	return helpText(r.name, r.act.about(), f)
}

// AutocompleteArgs completes arguments.
func (r *runner) AutocompleteArgs() complete.Predictor {
	if p := r.act.about().args; p != nil {
		return r.bind(p)
	}
	return complete.PredictNothing
}

// AutocompleteFlags completes options and their values.
func (r *runner) AutocompleteFlags() complete.Flags {
	_, f := r.prepare()
	out := complete.Flags{"-h": complete.PredictNothing}
	for _, d := range f.docs {
		switch {
		case d.value == "":
			out["-"+d.name] = complete.PredictNothing
		case d.predict == nil:
			out["-"+d.name] = complete.PredictAnything
		default:
			out["-"+d.name] = r.bind(d.predict)
		}
	}
	return out
}

// Run executes the action and returns the exit code.
func (r *runner) Run(args []string) int {
	s, f := r.prepare()
	if r.oldNameOf != "" {
		s.warn("%s is the old name of `%s %s`", r.name, program, r.oldNameOf)
	}
	err := r.execute(s, f, args)
	if err == errHelp {
		return cli.RunResultHelp
	}
	return s.report(r.name, err)
}

func (r *runner) execute(s *session, f *flags, args []string) error {
	a := r.act.about()
	if a.raw {
		return r.act.run(s, args)
	}
	args, err := f.parse(args, a.child)
	if err != nil {
		return err
	}
	if err := s.settle(); err != nil {
		return err
	}
	switch {
	case len(args) < a.min:
		return usagef("too few arguments: expected %s %s", r.name, a.usage)
	case a.max >= 0 && len(args) > a.max:
		return usagef("too many arguments: %s was not expected", shown(args[a.max]))
	}
	return r.act.run(s, args)
}
