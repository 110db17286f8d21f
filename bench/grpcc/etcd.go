package grpcc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Method names and field numbers of etcd's public v3 API (rpc.proto, kv.proto).
const (
	methodPut    = "/etcdserverpb.KV/Put"
	methodRange  = "/etcdserverpb.KV/Range"
	methodStatus = "/etcdserverpb.Maintenance/Status"

	putKey, putValue            = 1, 2
	rangeKey, rangeSerializable = 1, 7
	responseHeader              = 1
	headerMember                = 2
	rangeKVs                    = 2
	kvValue                     = 5
	statusLeader                = 4
)

// Etcd speaks etcd's v3 API over one connection. It is safe for concurrent use.
type Etcd struct {
	*Conn
	// Timeout bounds one call.
	Timeout time.Duration
}

// Put sets key to value.
func (e Etcd) Put(key string, value []byte) error {
	b := make([]byte, 0, len(key)+len(value)+8)
	b = protowire.AppendTag(b, putKey, protowire.BytesType)
	b = protowire.AppendString(b, key)
	b = protowire.AppendTag(b, putValue, protowire.BytesType)
	b = protowire.AppendBytes(b, value)
	_, err := e.Call(methodPut, b, e.Timeout)
	return err
}

// Get returns the value of key, from the server's own state when serializable,
// else confirmed by the leader.
func (e Etcd) Get(key string, serializable bool) ([]byte, error) {
	b := make([]byte, 0, len(key)+8)
	b = protowire.AppendTag(b, rangeKey, protowire.BytesType)
	b = protowire.AppendString(b, key)
	if serializable {
		b = protowire.AppendTag(b, rangeSerializable, protowire.VarintType)
		b = protowire.AppendVarint(b, 1)
	}
	reply, err := e.Call(methodRange, b, e.Timeout)
	if err != nil {
		return nil, err
	}
	kv, err := field(reply, rangeKVs)
	if err != nil {
		return nil, fmt.Errorf("range reply: %w", err)
	}
	return field(kv, kvValue)
}

// IsLeader reports whether the server at the other end leads.
func (e Etcd) IsLeader() (bool, error) {
	reply, err := e.Call(methodStatus, nil, e.Timeout)
	if err != nil {
		return false, err
	}
	header, err := field(reply, responseHeader)
	if err != nil {
		return false, err
	}
	member, err1 := field(header, headerMember)
	leader, err2 := field(reply, statusLeader)
	if err1 != nil || err2 != nil {
		return false, nil // zero: none is known yet
	}
	return string(member) == string(leader), nil
}

var errNoField = errors.New("field is absent")

// field returns the first field num of a message: the bytes of a
// length-delimited one, eight bytes for a varint.
func field(msg []byte, num protowire.Number) ([]byte, error) {
	for len(msg) > 0 {
		n, typ, w := protowire.ConsumeTag(msg)
		if w < 0 {
			return nil, protowire.ParseError(w)
		}
		msg = msg[w:]
		size := protowire.ConsumeFieldValue(n, typ, msg)
		if size < 0 {
			return nil, protowire.ParseError(size)
		}
		if n == num {
			return scalar(typ, msg)
		}
		msg = msg[size:]
	}
	return nil, errNoField
}

func scalar(typ protowire.Type, b []byte) ([]byte, error) {
	switch typ {
	case protowire.BytesType:
		v, _ := protowire.ConsumeBytes(b)
		return v, nil
	case protowire.VarintType:
		v, _ := protowire.ConsumeVarint(b)
		return binary.BigEndian.AppendUint64(nil, v), nil
	}
	return nil, fmt.Errorf("field of wire type %d", typ)
}
