// Command cairn is the agent and the operator command line in one binary.
package main

import (
	"os"
	"runtime/debug"

	"github.com/cairn-project/cairn/command"
	"github.com/cairn-project/cairn/command/agent"
	"github.com/cairn-project/cairn/nomad"
)

// commit is set by the linker, "" to take what the toolchain knows.
var commit string

func main() {
	os.Exit(command.Run(os.Args[1:], command.Options{
		Version: nomad.Version, Revision: revision(),
		Agent: agent.RunAgent, AgentFlags: agent.Flags,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	}))
}

// revision returns the commit the binary was built from, "" for unknown.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if commit != "" || !ok {
		return commit
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}
