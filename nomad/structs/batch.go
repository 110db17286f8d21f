package structs

import (
	"encoding/binary"

	"github.com/cairn-project/cairn/internal/errs"
)

// MaxBatchOps bounds the entries of a batch, as a transaction with many more
// stalls readers.
const MaxBatchOps = 256

// AppendBatch appends to b a Raft entry that holds entries, each with its own
// type byte. The format is frozen: BatchRequestType, the count as a uvarint,
// then for each entry its length as a uvarint and its bytes.
func AppendBatch(b []byte, entries [][]byte) []byte {
	b = append(b, byte(BatchRequestType))
	b = binary.AppendUvarint(b, uint64(len(entries)))
	for _, e := range entries {
		b = binary.AppendUvarint(b, uint64(len(e)))
		b = append(b, e...)
	}
	return b
}

// SplitBatch returns the entries of a batch, the type byte of the batch cut
// off. The entries share memory with body.
func SplitBatch(body []byte) ([][]byte, error) {
	n, w := binary.Uvarint(body)
	if w <= 0 || n > uint64(len(body)) {
		return nil, errs.New(errs.Internal, "batch entry: bad count")
	}
	body = body[w:]
	out := make([][]byte, 0, n)
	for range n {
		size, w := binary.Uvarint(body)
		if w <= 0 || size == 0 || size > uint64(len(body)-w) {
			return nil, errs.New(errs.Internal, "batch entry: bad length")
		}
		out = append(out, body[w:w+int(size)])
		body = body[w+int(size):]
	}
	if len(body) != 0 {
		return nil, errs.New(errs.Internal, "batch entry: bytes left over")
	}
	return out, nil
}
