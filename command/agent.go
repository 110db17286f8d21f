package command

import "errors"

// agentRun starts the agent the process was built with.
type agentRun struct{}

func (*agentRun) about() about {
	return about{
		synopsis: "run a server or client",
		usage:    "[options]",
		text:     "Runs the agent until it is interrupted. Its options are read from configuration files in HCL or JSON, in the order given, then from the command line.",
		examples: [][2]string{
			{"Try it out: one server, nothing kept on disk", "cairn agent -dev"},
			{"Run a server from a file or a directory of files", "cairn agent -config /etc/cairn.d"},
		},
		args: anyFile, max: -1, raw: true,
	}
}

func (*agentRun) flags(*flags) {}

func (*agentRun) run(s *session, args []string) error {
	if s.opts.Agent == nil {
		return hinted(errors.New("this build has no agent"), "use a full build of cairn to run a server")
	}
	if code := s.opts.Agent(args, bare(s.stdout), s.stderr, s.opts.Shutdown); code != 0 {
		return &failure{code: code}
	}
	return nil
}
