package metrics

// Reason is the stable code of an answer that the gateway made itself. It is an
// alias because the packages that make such answers do not import this one.
type Reason = string

// The reasons that are counted by name. Any other one counts as "other".
const (
	NoRoute       Reason = "no_route"
	Misdirected   Reason = "misdirected"
	BadRequest    Reason = "bad_request"
	HoldFull      Reason = "hold_full"
	HoldTimeout   Reason = "hold_timeout"
	ConnectFailed Reason = "connect_failed"
	TargetReset   Reason = "target_reset"
	TargetTimeout Reason = "target_timeout"
	BadAnswer     Reason = "bad_answer"
	ClientLeft    Reason = "client_left"
	TooLarge      Reason = "too_large"
	BodyTimeout   Reason = "body_timeout"
	Internal      Reason = "internal"
	Cut           Reason = "cut"
	Paused        Reason = "paused"
	Redirect      Reason = "redirect"
)

// Slot says which of a service's pools a target belongs to.
type Slot = string

// A service has one pool, or during a swap an old and a new one.
const (
	SlotOnly Slot = "only"
	SlotOld  Slot = "old"
	SlotNew  Slot = "new"
)

// State is what the gateway knows of a target.
type State = string

// The states of a target.
const (
	StateUp      State = "up"
	StateDown    State = "down"
	StateUnknown State = "unknown"
	StateEjected State = "ejected"
)

// SwapResult is how a swap ended.
type SwapResult = string

// The results of a swap, as its report names them.
const (
	SwapDone         SwapResult = "done"          // nothing was lost
	SwapNeverHealthy SwapResult = "never_healthy" // the old pool serves
	SwapRolledBack   SwapResult = "rolled_back"   // published, found worse, published back
	SwapLost         SwapResult = "lost"          // done, but requests were cut or lost
	SwapRefused      SwapResult = "refused"       // locked, or superseded by a newer build
	SwapUnchanged    SwapResult = "unchanged"     // the targets served already
	SwapCancelled    SwapResult = "cancelled"     // called off before anything changed
	SwapFailed       SwapResult = "failed"        // before anything changed, for another reason
)

// Outcome is what became of a request that a swap could have touched.
type Outcome = string

// The outcomes of the ledger.
const (
	OutcomeOld        Outcome = "finished_old"
	OutcomeNew        Outcome = "finished_new"
	OutcomeHeld       Outcome = "held"
	OutcomeRetried    Outcome = "retried"
	OutcomeFailed     Outcome = "failed"
	OutcomeCut        Outcome = "cut"
	OutcomeClientLeft Outcome = "client_left"
	OutcomeUnderWay   Outcome = "under_way"
)

// A closedSet is the list of all values that a label may have. The last one is
// "other", and stands for every value that is not listed.
type closedSet struct {
	values []string
	place  map[string]int
}

func closed(values ...string) closedSet {
	s := closedSet{values: append(values, "other"), place: make(map[string]int, len(values))}
	for i, v := range values {
		s.place[v] = i
	}
	return s
}

func (s closedSet) index(value string) int {
	if i, listed := s.place[value]; listed {
		return i
	}
	return len(s.values) - 1
}

var (
	methods = closed("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE")
	classes = closed("1xx", "2xx", "3xx", "4xx", "5xx")
	reasons = closed(NoRoute, Misdirected, BadRequest, HoldFull, HoldTimeout, ConnectFailed,
		TargetReset, TargetTimeout, BadAnswer, ClientLeft, TooLarge, BodyTimeout, Internal, Cut, Paused, Redirect)
	slots    = closed(SlotOnly, SlotOld, SlotNew)
	states   = closed(StateUp, StateDown, StateUnknown, StateEjected)
	results  = closed(SwapDone, SwapNeverHealthy, SwapRolledBack, SwapLost, SwapRefused, SwapUnchanged, SwapCancelled, SwapFailed)
	outcomes = closed(OutcomeOld, OutcomeNew, OutcomeHeld, OutcomeRetried, OutcomeFailed, OutcomeCut, OutcomeClientLeft, OutcomeUnderWay)
)

// The lengths of the closed sets, "other" included: arrays need them as
// constants, and a test holds that they are right.
const (
	methodCount  = 10
	classCount   = 6
	reasonCount  = 17
	slotCount    = 4
	stateCount   = 5
	resultCount  = 9
	outcomeCount = 9
)

func classIndex(status int) int {
	if status < 100 || status > 599 {
		return classCount - 1
	}
	return status/100 - 1
}
