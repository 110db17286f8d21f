package command

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// child is a running command line.
type child struct {
	cmd *exec.Cmd
	// grouped says that it leads a process group of its own, so that signals
	// reach what it started too.
	grouped bool
	// done yields the exit code once, when the command has ended.
	done chan int
}

// startChild runs words with the streams of the session. The child gets a
// process group of its own unless it shares a terminal, where that would stop
// it from reading.
func startChild(s *session, words []string) (*child, error) {
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.stdin, bare(s.stdout), s.stderr
	c := &child{cmd: cmd, grouped: !isTerminal(s.stdin), done: make(chan int, 1)}
	isolate(cmd, c.grouped)
	started := make(chan error, 1)
	go c.supervise(started)
	if err := <-started; err != nil {
		return nil, hinted(failed("starting the command", err), "the command follows the path: cairn var lock app/leader -- cmd args")
	}
	return c, nil
}

// supervise stays on one thread, as the kernel ties the death signal of the
// child to the thread that started it.
func (c *child) supervise(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c.cmd.WaitDelay = time.Second
	err := c.cmd.Start()
	started <- err
	if err == nil {
		c.done <- exitCode(c.cmd.Wait(), c.cmd.ProcessState)
	}
}

// exitCode follows the shells: 128 plus the signal for a command that was killed.
func exitCode(err error, state *os.ProcessState) int {
	if state == nil {
		return exitFailed
	}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	if code := state.ExitCode(); code != 0 || err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return code
	}
	return exitFailed
}

// stop asks the child to end, kills it after the grace period, and returns its exit code.
func (c *child) stop(grace time.Duration) int {
	c.signal(syscall.SIGTERM)
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case code := <-c.done:
		c.signalGroup(syscall.SIGKILL)
		return code
	case <-t.C:
		c.signal(syscall.SIGKILL)
		return <-c.done
	}
}

// signal sends a signal to the child and, if it leads a group, to all of that.
func (c *child) signal(sig syscall.Signal) {
	if c.grouped {
		c.signalGroup(sig)
		return
	}
	_ = c.cmd.Process.Signal(sig)
}

func (c *child) signalGroup(sig syscall.Signal) {
	if c.grouped {
		_ = syscall.Kill(-c.cmd.Process.Pid, sig)
	}
}
