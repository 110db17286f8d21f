package structs

import (
	"bytes"
	"maps"
	"slices"

	"github.com/cairn-project/cairn/internal/msgp"
)

// The encodings below are those of the reflective codec, without its cost: the
// fields in order of name, a nil Lock left out. Every type that embeds
// VariableMetadata has methods of its own, as it would inherit the partial ones.

// metadataFields is the number of fields of VariableMetadata that are always there.
const metadataFields = 6

// countLock returns how many fields the lock adds.
func (m *VariableMetadata) countLock() int {
	if m.Lock == nil {
		return 0
	}
	return 1
}

func (m *VariableMetadata) appendCreate(b []byte) []byte {
	b = msgp.AppendUint64(msgp.AppendField(b, "CreateIndex"), m.CreateIndex)
	return msgp.AppendInt64(msgp.AppendField(b, "CreateTime"), m.CreateTime)
}

// appendRest appends the fields from Lock on.
func (m *VariableMetadata) appendRest(b []byte) []byte {
	if l := m.Lock; l != nil {
		b = msgp.AppendMapHeader(msgp.AppendField(b, "Lock"), 3)
		b = msgp.AppendString(msgp.AppendField(b, "ID"), l.ID)
		b = msgp.AppendDuration(msgp.AppendField(b, "LockDelay"), l.LockDelay)
		b = msgp.AppendDuration(msgp.AppendField(b, "TTL"), l.TTL)
	}
	b = msgp.AppendUint64(msgp.AppendField(b, "ModifyIndex"), m.ModifyIndex)
	b = msgp.AppendInt64(msgp.AppendField(b, "ModifyTime"), m.ModifyTime)
	b = msgp.AppendString(msgp.AppendField(b, "Namespace"), m.Namespace)
	return msgp.AppendString(msgp.AppendField(b, "Path"), m.Path)
}

// parseField reads the value of a field, or passes over it if m has none of the name.
func (m *VariableMetadata) parseField(name []byte, r *msgp.Reader) {
	switch string(name) {
	case "CreateIndex":
		m.CreateIndex = r.Uint64()
	case "CreateTime":
		m.CreateTime = r.Int64()
	case "Lock":
		m.Lock = parseLock(r)
	case "ModifyIndex":
		m.ModifyIndex = r.Uint64()
	case "ModifyTime":
		m.ModifyTime = r.Int64()
	case "Namespace":
		m.Namespace = parseNamespace(r)
	case "Path":
		m.Path = r.String()
	default:
		r.Skip()
	}
}

// parseNamespace reads a name without allocating the most frequent one.
func parseNamespace(r *msgp.Reader) string {
	b := r.RawBytes()
	if string(b) == DefaultNamespace {
		return DefaultNamespace
	}
	return string(b)
}

func parseLock(r *msgp.Reader) *VariableLock {
	if r.TryNil() {
		return nil
	}
	l := &VariableLock{}
	for range r.MapHeader() {
		switch string(r.StringKey()) {
		case "ID":
			l.ID = r.String()
		case "LockDelay":
			l.LockDelay = r.Duration()
		case "TTL":
			l.TTL = r.Duration()
		default:
			r.Skip()
		}
	}
	return l
}

// AppendMsgpack implements msgp.Appender.
func (m *VariableMetadata) AppendMsgpack(b []byte) []byte {
	b = msgp.AppendMapHeader(b, metadataFields+m.countLock())
	return m.appendRest(m.appendCreate(b))
}

// ParseMsgpack implements msgp.Parser.
func (m *VariableMetadata) ParseMsgpack(r *msgp.Reader) error {
	*m = VariableMetadata{}
	for range r.MapHeader() {
		m.parseField(r.StringKey(), r)
	}
	return r.Err()
}

// AppendMsgpack implements msgp.Appender.
func (v *VariableEncrypted) AppendMsgpack(b []byte) []byte {
	b = msgp.AppendMapHeader(b, metadataFields+2+v.countLock())
	b = v.appendCreate(b)
	b = msgp.AppendBytes(msgp.AppendField(b, "Data"), v.Data)
	b = msgp.AppendString(msgp.AppendField(b, "KeyID"), v.KeyID)
	return v.appendRest(b)
}

// ParseMsgpack implements msgp.Parser.
func (v *VariableEncrypted) ParseMsgpack(r *msgp.Reader) error { return v.parse(r, false) }

// parse is ParseMsgpack; with shared, Data is part of what r reads.
func (v *VariableEncrypted) parse(r *msgp.Reader, shared bool) error {
	known := v.KeyID
	*v = VariableEncrypted{}
	for range r.MapHeader() {
		switch name := r.StringKey(); string(name) {
		case "Data":
			if v.Data = r.RawBytes(); !shared {
				v.Data = bytes.Clone(v.Data)
			}
		case "KeyID":
			if id := r.RawBytes(); string(id) == known {
				v.KeyID = known
			} else {
				v.KeyID = string(id)
			}
		default:
			v.parseField(name, r)
		}
	}
	return r.Err()
}

// AppendMsgpack implements msgp.Appender. Items are in order of key.
func (v *VariableDecrypted) AppendMsgpack(b []byte) []byte {
	b = msgp.AppendMapHeader(b, metadataFields+1+v.countLock())
	b = msgp.AppendField(v.appendCreate(b), "Items")
	if v.Items == nil {
		return v.appendRest(msgp.AppendNil(b))
	}
	b = msgp.AppendMapHeader(b, len(v.Items))
	for _, k := range slices.Sorted(maps.Keys(v.Items)) {
		b = msgp.AppendString(msgp.AppendString(b, k), v.Items[k])
	}
	return v.appendRest(b)
}

// ParseMsgpack implements msgp.Parser.
func (v *VariableDecrypted) ParseMsgpack(r *msgp.Reader) error {
	*v = VariableDecrypted{}
	for range r.MapHeader() {
		name := r.StringKey()
		if string(name) != "Items" {
			v.parseField(name, r)
			continue
		}
		if r.TryNil() {
			v.Items = nil
			continue
		}
		n := r.MapHeader()
		v.Items = make(VariableItems, n)
		for range n {
			k := r.String()
			v.Items[k] = r.String()
		}
	}
	return r.Err()
}

// AppendMsgpack implements msgp.Appender.
func (q *VarApplyStateRequest) AppendMsgpack(b []byte) []byte {
	b = msgp.AppendMapHeader(b, 7)
	b = msgp.AppendString(msgp.AppendField(b, "AuthToken"), q.AuthToken)
	b = msgp.AppendBool(msgp.AppendField(b, "Forwarded"), q.Forwarded)
	b = msgp.AppendString(msgp.AppendField(b, "IdempotencyToken"), q.IdempotencyToken)
	b = msgp.AppendString(msgp.AppendField(b, "Namespace"), q.Namespace)
	b = msgp.AppendString(msgp.AppendField(b, "Op"), string(q.Op))
	b = msgp.AppendString(msgp.AppendField(b, "Region"), q.Region)
	b = msgp.AppendField(b, "Var")
	if q.Var == nil {
		return msgp.AppendNil(b)
	}
	return q.Var.AppendMsgpack(b)
}

// ParseMsgpack implements msgp.Parser.
func (q *VarApplyStateRequest) ParseMsgpack(r *msgp.Reader) error {
	*q = VarApplyStateRequest{}
	return q.parse(r, nil)
}

// DecodeVarApply reads the MessagePack part of a Raft entry into q and, if it has
// a variable, into row, which q then refers to. The sealed data of row are part of
// body afterwards, so body must not be changed while they are in use. What row has
// as KeyID is the most likely one and need not be copied if it is.
func DecodeVarApply(body []byte, q *VarApplyStateRequest, row *VariableEncrypted) error {
	*q = VarApplyStateRequest{}
	var r msgp.Reader
	r.Reset(body)
	return q.parse(&r, row)
}

// parse reads into room, if there is any, without copying the data.
func (q *VarApplyStateRequest) parse(r *msgp.Reader, room *VariableEncrypted) error {
	for range r.MapHeader() {
		switch string(r.StringKey()) {
		case "AuthToken":
			q.AuthToken = r.String()
		case "Forwarded":
			q.Forwarded = r.Bool()
		case "IdempotencyToken":
			q.IdempotencyToken = r.String()
		case "Namespace":
			q.Namespace = parseNamespace(r)
		case "Op":
			q.Op = parseVarOp(r)
		case "Region":
			q.Region = r.String()
		case "Var":
			q.parseVar(r, room)
		default:
			r.Skip()
		}
	}
	return r.Err()
}

func (q *VarApplyStateRequest) parseVar(r *msgp.Reader, room *VariableEncrypted) {
	if r.TryNil() {
		q.Var = nil
		return
	}
	if q.Var = room; room == nil {
		q.Var = &VariableEncrypted{}
	}
	r.Fail(q.Var.parse(r, room != nil))
}

// parseVarOp reads an operation without allocating the known ones.
func parseVarOp(r *msgp.Reader) VarOp {
	switch b := r.RawBytes(); string(b) {
	case string(VarOpSet):
		return VarOpSet
	case string(VarOpCAS):
		return VarOpCAS
	case string(VarOpDelete):
		return VarOpDelete
	default:
		return VarOp(b)
	}
}

// sizeHint is about the size of the encoding, so that one allocation is enough.
func (r *VarApplyStateRequest) sizeHint() int {
	const names = 400 // of fields, and values of fixed size
	return names + len(r.Var.Path) + len(r.Var.Namespace) + len(r.Var.Data) + len(r.Var.KeyID)
}
