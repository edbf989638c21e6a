//go:build race

package sockio

import (
	"runtime"
	"syscall"
	"unsafe"
)

// The race detector sees no raw call. It is told of the memory that was used,
// and, by a call for no bytes, which it sees, that what one goroutine did before
// it wrote happened before what another does who has read.

func raceRead(fd uintptr, p []byte) {
	if len(p) > 0 {
		runtime.RaceWriteRange(unsafe.Pointer(unsafe.SliceData(p)), len(p))
		syscall.Read(int(fd), nil)
	}
}

func raceWrite(fd uintptr, p []byte) {
	runtime.RaceReadRange(unsafe.Pointer(unsafe.SliceData(p)), len(p))
	syscall.Write(int(fd), nil)
}
