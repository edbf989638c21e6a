//go:build !linux

package testbed

import "os/exec"

// startTied starts cmd. A test that does not end in order leaves it behind.
func startTied(cmd *exec.Cmd) error { return cmd.Start() }
