package errs

// Transport is how a code shows on each surface.
type Transport struct {
	// HTTP is the status code (RFC 9110).
	HTTP int
	// JSONRPC is the error code of JSON-RPC 2.0; our own lie in the range reserved for
	// servers. 9 and 10 are an application's: what was refused, and whether it is not known
	// who calls or who calls may not, is in the details.
	JSONRPC int
	// Detail is the code of the first detail beside that, 0 for the same.
	Detail int
	// DRPC is the status of the agent socket's response frame.
	DRPC int
}

// table is total over the codes; a test checks that. HTTP follows the public
// API, in which absence of a leader and of a path are 500. dRPC statuses are 2
// for a plain failure, 4 and 6 of the protocol, and 8 to 11 of ours (denied,
// deadline, unavailable, too large).
var table = map[Code]Transport{
	Invalid:            {HTTP: 400, JSONRPC: -32602, DRPC: 6},
	NotFound:           {HTTP: 404, JSONRPC: 9, Detail: -32010, DRPC: 2},
	Conflict:           {HTTP: 409, JSONRPC: 9, Detail: -32011, DRPC: 2},
	PermissionDenied:   {HTTP: 403, JSONRPC: 10, Detail: 2, DRPC: 8},
	Unauthenticated:    {HTTP: 403, JSONRPC: 10, Detail: 1, DRPC: 8},
	PreconditionFailed: {HTTP: 400, JSONRPC: 9, Detail: -32014, DRPC: 2},
	TooLarge:           {HTTP: 413, JSONRPC: -32001, DRPC: 11},
	RateLimited:        {HTTP: 429, JSONRPC: -32016, DRPC: 10},
	Busy:               {HTTP: 503, JSONRPC: -32000, DRPC: 10},
	NoLeader:           {HTTP: 500, JSONRPC: -32004, DRPC: 10},
	NoPath:             {HTTP: 500, JSONRPC: -32019, DRPC: 10},
	Unavailable:        {HTTP: 500, JSONRPC: -32020, DRPC: 10},
	Unsupported:        {HTTP: 501, JSONRPC: -32601, DRPC: 4},
	Deadline:           {HTTP: 504, JSONRPC: -32003, DRPC: 9},
	Internal:           {HTTP: 500, JSONRPC: -32603, DRPC: 2},
}

// Codes returns every code, in no particular order.
func Codes() []Code {
	out := make([]Code, 0, len(table))
	for c := range table {
		out = append(out, c)
	}
	return out
}

// Surface returns how c shows on each transport; an unknown code, as a newer
// server may send, shows as Internal.
func (c Code) Surface() Transport {
	if t, ok := table[c]; ok {
		return t
	}
	return table[Internal]
}
