package transport

import "time"

// Waiting counts the requests that wait for a connection.
func Waiting(t Transport) int {
	p := &t.(*h1).pool
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting.Len()
}

// Survived is the longest idle time after which a connection was found open.
func Survived(t Transport) time.Duration {
	p := &t.(*h1).pool
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.patience.survived
}
