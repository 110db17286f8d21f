//go:build unix && !linux

package command

import (
	"os/exec"
	"syscall"
)

// isolate puts the child in a process group if grouped.
func isolate(cmd *exec.Cmd, grouped bool) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: grouped}
}
