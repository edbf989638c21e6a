package upstream

// Account is what became of every request that was at a slot when the account
// was opened, or came before it was closed. Each is in exactly one of the
// fields beside Started, so those add up to it. What an earlier drain still
// waits for is that one's.
type Account struct {
	Started     int `json:"started"`
	FinishedOld int `json:"finished_old"`
	FinishedNew int `json:"finished_new"`
	Held        int `json:"held"`    // waited for a target, then answered
	Retried     int `json:"retried"` // answered by a further attempt
	Failed      int `json:"failed"`  // answered by the gateway, or broken off by a target
	Cut         int `json:"cut"`
	ClientLeft  int `json:"client_left"`
	UnderWay    int `json:"under_way"` // not ended when the account was closed; none of them on the old pool
}

// Sum adds up everything but Started.
func (a Account) Sum() int {
	return a.FinishedOld + a.FinishedNew + a.Held + a.Retried + a.Failed + a.Cut + a.ClientLeft + a.UnderWay
}

func (a *Account) add(b Account) {
	a.Started += b.Started
	a.FinishedOld += b.FinishedOld
	a.FinishedNew += b.FinishedNew
	a.Held += b.Held
	a.Retried += b.Retried
	a.Failed += b.Failed
	a.Cut += b.Cut
	a.ClientLeft += b.ClientLeft
	a.UnderWay += b.UnderWay
}

// account is one shard's part of an Account.
type account struct {
	Account
	started int
	apart   int // visits here that the account leaves out
	old     *Pool
}

// OpenAccount begins to account for the requests of a swap away from old. It
// replaces an account that is open.
func (s *Slot) OpenAccount(old *Pool) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		a := &account{old: old}
		for v := sh.first; v != nil; v = v.next {
			if v.apart = v.Target != nil && v.pool.out[i].retired; v.apart {
				a.apart++
			}
		}
		a.started = sh.visits - a.apart
		sh.account = a
		sh.mu.Unlock()
	}
}

// CloseAccount ends the account and returns it; the zero Account when none is open.
func (s *Slot) CloseAccount() (total Account) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		if a := sh.account; a != nil {
			a.Started, a.UnderWay = a.started, sh.visits-a.apart
			total.add(a.Account)
			sh.account = nil
		}
		sh.mu.Unlock()
	}
	return total
}

// count enters the end of a visit; the shard is locked.
func (sh *shard) count(v *Visit, e End) {
	a := sh.account
	if a == nil {
		return
	}
	switch {
	case v.apart:
		a.apart--
	case e == Cut:
		a.Cut++
	case e == ClientLeft:
		a.ClientLeft++
	case e == Failed:
		a.Failed++
	case v.again:
		a.Retried++
	case v.held:
		a.Held++
	case v.pool == a.old:
		a.FinishedOld++
	default:
		a.FinishedNew++
	}
}
