package jsonrpc

// Codes of errors. Those of the specification come first; then our own in the
// range that it leaves to servers; 9 and 10 are application codes, as the node
// of Traffic Server has them. Further codes of the product come from errs. All
// are frozen.
const (
	// CodeParse: the message is no JSON, is not UTF-8, or is nested too deep; the detail says which.
	CodeParse = -32700
	// CodeInvalidRequest: the value is no request; the details say why.
	CodeInvalidRequest = -32600
	// CodeMethodNotFound: no method of that name is registered.
	CodeMethodNotFound = -32601
	// CodeInvalidParams: the parameters do not fit the method's schema.
	CodeInvalidParams = -32602
	// CodeInternal: the result cannot be encoded, or another fault of ours.
	CodeInternal = -32603
	// CodeBusy: too many calls or connections, or the server starts or stops. Nothing was run.
	CodeBusy = -32000
	// CodeTooLarge: the message or the answer exceeds a limit, which the details name.
	CodeTooLarge = -32001
	// CodeBatchTooLarge: the batch has too many elements; none was run.
	CodeBatchTooLarge = -32002
	// CodeTimeout: the call's time was up. It may have taken effect.
	CodeTimeout = -32003
	// CodeNoLeader: the cluster has no leader at present.
	CodeNoLeader = -32004
	// CodeExecution: the method ran and failed; the details say why.
	CodeExecution = 9
	// CodeUnauthorized: the caller may not do this; the details are ErrataNoCredentials or ErrataDenied.
	CodeUnauthorized = 10
)

// Codes of details of CodeInvalidRequest, one for each problem of a request. 1
// to 8 and 11 have the meaning they have in Traffic Server.
const (
	// ErrataVersion: jsonrpc is a string other than "2.0".
	ErrataVersion = 1
	// ErrataVersionType: jsonrpc is not a string.
	ErrataVersionType = 2
	// ErrataVersionMissing: jsonrpc is missing.
	ErrataVersionMissing = 3
	// ErrataMethodType: method is not a string.
	ErrataMethodType = 4
	// ErrataMethodMissing: method is missing.
	ErrataMethodMissing = 5
	// ErrataParamsType: params is neither an array nor an object.
	ErrataParamsType = 6
	// ErrataIDType: id is no string, number or null.
	ErrataIDType = 7
	// ErrataIDNull: id is null and the server has strict ids.
	ErrataIDNull = 8
	// ErrataIDEmpty: id is the empty string and the server has strict ids.
	ErrataIDEmpty = 11
	// ErrataDuplicate: an object has the same member twice.
	ErrataDuplicate = 12
	// ErrataNotification: a notification was called with an id.
	ErrataNotification = 13
	// ErrataNotObject: the request is not an object.
	ErrataNotObject = 14
	// ErrataEmptyBatch: the batch has no elements.
	ErrataEmptyBatch = 15
)

// Codes of details of other errors.
const (
	// ErrataParams: a parameter breaks the schema; its place is in the field.
	ErrataParams = 20
	// ErrataLimit: a limit was exceeded; it is in the detail.
	ErrataLimit = 21
	// ErrataRetry: the server is short of something or not ready.
	ErrataRetry = 22
	// ErrataSyntax: where and why a message is no JSON.
	ErrataSyntax = 23
	// ErrataDepth: the message is nested too deep; the limit is in the detail.
	ErrataDepth = 24
	// ErrataUTF8: where the message is not UTF-8.
	ErrataUTF8 = 25
)

// Codes of details of CodeUnauthorized, as in Traffic Server.
const (
	// ErrataNoCredentials: it is not known who is calling.
	ErrataNoCredentials = 1
	// ErrataDenied: the caller is known and lacks the privilege.
	ErrataDenied = 2
)

// requestErrata describes the details of CodeInvalidRequest.
var requestErrata = map[int]string{
	ErrataVersion:        `jsonrpc must be "2.0"`,
	ErrataVersionType:    `jsonrpc must be the string "2.0"`,
	ErrataVersionMissing: `jsonrpc is missing: add "jsonrpc":"2.0"`,
	ErrataMethodType:     "method must be a string",
	ErrataMethodMissing:  "method is missing",
	ErrataParamsType:     "params must be an array or an object, or left out",
	ErrataIDType:         "id must be a string or a number",
	ErrataIDNull:         "id must not be null on this server",
	ErrataIDEmpty:        "id must not be empty on this server",
	ErrataDuplicate:      "member is given twice",
	ErrataNotification:   "this is a notification: call it without an id",
	ErrataNotObject:      "a request is an object",
	ErrataEmptyBatch:     "a batch needs at least one element",
}
