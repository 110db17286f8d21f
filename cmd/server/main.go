// Command cairn is the agent and the operator command line in one binary.
package main

import (
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/cairn-project/cairn/command"
	"github.com/cairn-project/cairn/nomad"
)

func main() {
	args := os.Args[1:]
	opts := command.Options{
		Version: nomad.Version, Revision: revision(),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	}
	if len(args) > 0 && args[0] == "agent" {
		opts.Shutdown = stopSignal()
	}
	os.Exit(command.Run(args, opts))
}

// stopSignal returns a channel that is closed by the first signal to stop; a
// second one ends the process at once.
func stopSignal() <-chan struct{} {
	stop := make(chan struct{})
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		signal.Stop(signals)
		close(stop)
	}()
	return stop
}

// revision returns the commit the toolchain stamped into the binary, "" for none.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}
