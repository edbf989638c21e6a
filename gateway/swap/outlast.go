package swap

// outlast waits until the gateway that this one took over from has left. It sends
// what comes on its connections to the targets that it knew, and this one's drain
// sees nothing of that. The end of this gateway ends the wait.
func (w *Swap) outlast() {
	all := w.service.all
	if all.Alone == nil {
		return
	}
	select {
	case <-all.Alone:
		return
	default:
	}
	w.say("drain", "waiting for the gateway that this one took over from: it may still send to the targets that leave")
	select {
	case <-all.Alone:
	case <-all.life.Done():
		w.beside = true
	}
}
