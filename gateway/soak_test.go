//go:build soak

package gateway_test

import (
	"runtime"
	"testing"

	"pomodoro.cc/gateway/gatewaytest"
)

// A thousand swaps leave nothing behind: no goroutine, and no memory that grows.
func TestSoak_AThousandSwapsLoseNothingAndLeaveNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("warm up", func(t *testing.T) { swapUnderLoad(t, 200) })
	var first, last runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&first)
	t.Run("a thousand", func(t *testing.T) { swapUnderLoad(t, 1000) })
	gatewaytest.Eventually(t, "the goroutines are back to where they began", func() bool { return runtime.NumGoroutine() <= before+4 })
	runtime.GC()
	runtime.ReadMemStats(&last)
	t.Logf("heap in use: %d KiB before, %d KiB after", first.HeapInuse>>10, last.HeapInuse>>10)
	if last.HeapInuse > first.HeapInuse+16<<20 {
		t.Errorf("the heap grew from %d to %d bytes", first.HeapInuse, last.HeapInuse)
	}
}
