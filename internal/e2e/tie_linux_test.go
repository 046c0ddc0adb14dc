package e2e

import (
	"os/exec"
	"syscall"
)

// tie makes the process end with the test, even when that is killed.
func tie(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
