package presence

import (
	"context"
	"testing"
)

func TestLeft(t *testing.T) {
	gone := false
	ctx, cancel := context.WithCancel(With(t.Context(), func() bool { return !gone }))
	defer cancel()
	derived, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	if Left(t.Context()) || Left(ctx) || Left(derived) {
		t.Error("a client that waits has left")
	}
	gone = true
	if !Left(ctx) || !Left(derived) {
		t.Error("a client that left is there")
	}
	gone = false
	cancel()
	if !Left(ctx) {
		t.Error("a client whose request has ended is there")
	}
}
