//go:build !invariants && !race

package state

import "iter"

func seal[T any](*T) {}

func verify[T any](*T) {}

func verified[T any](seq iter.Seq[*T]) iter.Seq[*T] { return seq }
