package archtest

// exceptions maps what breaks a size to the reason why it may. The key is the
// file and, for a function or an interface, a colon and its name as the failure
// prints it: "nomad/fsm.go:FSM.apply".
var exceptions = map[string]string{}
