//go:build !invariants && !race

package state

func seal[T any](*T) {}

func verify[T any](*T) {}
