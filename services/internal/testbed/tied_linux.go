package testbed

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

var (
	starts    = make(chan func())
	beginOnce sync.Once
)

// startTied starts cmd so that the kernel kills it when this process ends, even
// by kill -9 or a panic. The kernel watches the thread that starts a child, so
// one thread that lives as long as the process starts all of them.
func startTied(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	beginOnce.Do(func() {
		go func() {
			runtime.LockOSThread()
			for start := range starts {
				start()
			}
		}()
	})
	started := make(chan error)
	starts <- func() { started <- cmd.Start() }
	return <-started
}
