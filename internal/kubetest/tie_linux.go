package kubetest

import (
	"os/exec"
	"syscall"
)

// tie makes the process end with the tests, even when that is killed.
func tie(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
