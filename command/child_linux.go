package command

import (
	"os/exec"
	"syscall"
)

// isolate makes the child end when this process is killed, as nobody would
// renew its lock any more, and puts it in a process group if grouped.
func isolate(cmd *exec.Cmd, grouped bool) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: grouped, Pdeathsig: syscall.SIGTERM}
}
