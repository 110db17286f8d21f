// Package presence lets whoever works on a request ask whether the client that
// waits for the answer is still there. A context tells that too, but only when
// somebody has noticed: a process that stood still learns of a client that left
// meanwhile later than it goes on.
package presence

import "context"

type key struct{}

// With returns a context from which Left asks there, which reports whether the
// client waits still. It may be called at any time, by any goroutine, also when
// the request has ended, and must not wait.
func With(ctx context.Context, there func() bool) context.Context {
	return context.WithValue(ctx, key{}, there)
}

// Left reports whether the client is known to have left. Asking may cost a
// system call: it is for what must not be done late, and not for every request.
func Left(ctx context.Context) bool {
	if ctx.Err() != nil {
		return true
	}
	there, ok := ctx.Value(key{}).(func() bool)
	return ok && !there()
}
