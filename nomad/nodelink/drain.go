package nodelink

// DrainProgress is how far the programs on a node are that leave because it drains,
// as its agent sees it.
type DrainProgress struct {
	// Left is how many have neither gone nor said that they may be stopped.
	Left      int
	Workloads []DrainWorkload
}

// MaxDrainWorkloads bounds the programs that a DrainProgress names; Left counts all.
const MaxDrainWorkloads = 100

// DrainWorkload is one such program.
type DrainWorkload struct {
	Name string `json:",omitempty"`
	PID  int
	// State is waiting, silent, needs, unreachable, ready or gone.
	State string
	// NeedMs is how long the program said that it needs.
	NeedMs int64  `json:",omitempty"`
	Text   string `json:",omitempty"`
}

// The states of a program: it was not told yet, it cannot be told, it needs time, it
// could not be reached, it may be stopped, or it has gone.
const (
	WorkloadWaiting     = "waiting"
	WorkloadSilent      = "silent"
	WorkloadNeeds       = "needs"
	WorkloadUnreachable = "unreachable"
	WorkloadReady       = "ready"
	WorkloadGone        = "gone"
)
