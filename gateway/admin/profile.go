package admin

import (
	"net/http"
	"runtime/pprof"
	"strconv"
	"sync"
	"time"
)

// longestProfile bounds what one order can cost; profiling takes a few percent.
const longestProfile = 10 * time.Minute

// profile answers with a CPU profile of the next ?seconds (30), in the format of
// `go tool pprof`. It ends early when whoever asked has left. The process has
// one profiler: a second order meanwhile is refused.
func profile(w http.ResponseWriter, r *http.Request) {
	span := 30 * time.Second
	if text := r.FormValue("seconds"); text != "" {
		n, err := strconv.Atoi(text)
		span = time.Duration(n) * time.Second
		if err != nil || span <= 0 || span > longestProfile {
			refuse(w, http.StatusBadRequest, "seconds="+strconv.Quote(text)+" is not a whole number from 1 to "+strconv.Itoa(int(longestProfile.Seconds())))
			return
		}
	}
	out := profiled{w: w}
	if err := pprof.StartCPUProfile(&out); err != nil {
		refuse(w, http.StatusConflict, err.Error())
		return
	}
	defer pprof.StopCPUProfile() // writes what was gathered
	out.begin()
	t := time.NewTimer(span)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
	}
}

// profiled is an answer that the profiler writes, from a goroutine of its own.
type profiled struct {
	mu sync.Mutex // guards w
	w  http.ResponseWriter
}

// Write writes.
func (p *profiled) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.w.Write(b)
}

// begin sends the head, so that whoever asked knows that it has begun.
func (p *profiled) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.w.Header().Set("Content-Type", "application/octet-stream")
	http.NewResponseController(p.w).Flush() // who has left is noticed by the context
}
