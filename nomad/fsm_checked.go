package nomad

import (
	"errors"

	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

var errBadEntry = errors.New("it holds no write of access control")

// decodeCheckedOp decodes a write of access control that is applied only if what its
// author's rights were checked against still stands.
func decodeCheckedOp(body []byte) (op, bool) {
	r := new(structs.ACLCheckedRequest)
	if err := structs.Decode(body, r); err != nil {
		return op{err: err}, true
	}
	if len(r.Entry) == 0 {
		return op{err: errBadEntry}, true
	}
	o, known := decodeACLOp(structs.MessageType(r.Entry[0]), r.Entry[1:])
	if !known {
		return op{err: errBadEntry}, true
	}
	run := o.run
	o.run = func(b *state.StateStore, index uint64) (any, error) {
		unchanged := b.ACLUnchangedSince
		if r.Login {
			unchanged = b.BindingsUnchangedSince
		}
		if err := unchanged(r.Checked); err != nil {
			return nil, err
		}
		return run(b, index)
	}
	return o, true
}
