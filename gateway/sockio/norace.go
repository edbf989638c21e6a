//go:build !race

package sockio

func raceRead(uintptr, []byte) {}

func raceWrite(uintptr, []byte) {}
