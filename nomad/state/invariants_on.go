//go:build invariants || race

package state

import (
	"fmt"
	"hash/maphash"
	"runtime"
	"sync"
	"unsafe"
)

// seals holds the checksum of every row that is in some store, by address.
var (
	seals    sync.Map
	sealSeed = maphash.MakeSeed()
)

func checksum[T any](row *T) uint64 {
	b, err := appendRow(nil, row)
	if err != nil {
		panic(fmt.Sprintf("state: cannot encode a %T: %v", row, err))
	}
	return maphash.Bytes(sealSeed, b)
}

// seal notes what a row holds as it enters the store.
func seal[T any](row *T) {
	at := uintptr(unsafe.Pointer(row))
	if _, known := seals.Swap(at, checksum(row)); !known {
		runtime.AddCleanup(row, func(at uintptr) { seals.Delete(at) }, at)
	}
}

// verify panics if somebody changed a row since it entered the store.
func verify[T any](row *T) {
	if row == nil {
		return
	}
	if sum, known := seals.Load(uintptr(unsafe.Pointer(row))); known && sum != checksum(row) {
		panic(fmt.Sprintf("state: a %T was changed in place: copy rows before you change them", row))
	}
}
