package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/nomad/api"
)

// exitLockLost is EX_TEMPFAIL of sysexits.h.
const exitLockLost = 75

// releaseTimeout bounds how long the end of the command is held up by a release.
const releaseTimeout = 10 * time.Second

// varLock runs a command while it holds a lock.
type varLock struct {
	ttl, delay, grace time.Duration
	retries           uint64
	shell, verbose    bool
}

func (*varLock) about() about {
	return about{
		synopsis: "hold lock while command runs",
		usage:    "[options] <path> [--] <command> [args…]",
		text: "Waits for the lock of a variable, runs the command, keeps the lock while it runs and releases it at the end. The variable is made if there is none." +
			"\n\nIf the lock is lost, because no server could be reached for one TTL or an operator broke it, the command gets SIGTERM and, after the grace period, SIGKILL. Signals that arrive meanwhile are handed on to the command." +
			"\n\nOne argument with blanks is run by the shell; several are run as they are.",
		examples: [][2]string{
			{"Run one worker of several", "cairn var lock app/leader -- ./worker -v"},
			{"With the shell", "cairn var lock app/backup 'tar cz /data > backup.tgz'"},
			{"Hold on for longer while servers are away", "cairn var lock -ttl 1m app/leader -- ./worker"},
		},
		exits: []exit{
			{exitLockLost, "the lock was lost and the command stopped"},
			{128, "plus the number of the signal that ended the command; else the command's own code"},
		},
		min: 2, max: -1,
		groups: withAgent | withNamespace,
		args:   variablePaths,
		child:  true,
	}
}

func (c *varLock) flags(f *flags) {
	c.ttl, c.delay, c.grace, c.retries = api.DefaultLockTTL, api.DefaultLockDelay, 5*time.Second, 5
	f.duration(&c.ttl, "ttl", "For how long the lock is held without renewal, 10s to 24h. Default: 15s.")
	f.duration(&c.delay, "delay", "For how long an expired lock stays closed to others. Default: 15s.")
	f.duration(&c.grace, "grace", "Time between SIGTERM and SIGKILL when the lock is lost. Default: 5s.")
	f.number(&c.retries, "max-retry", "count", "How often a call that failed is repeated. Waiting for the lock is not bounded. Default: 5.")
	f.boolean(&c.shell, "shell", "Run the arguments, joined by blanks, with sh -c.")
	f.boolean(&c.verbose, "verbose", "Say what happens to the lock, on standard error.")
}

func (c *varLock) run(s *session, args []string) error {
	if c.ttl <= 0 || c.delay < 0 || c.grace < 0 {
		return usagef("-ttl must be positive, -delay and -grace must not be negative")
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	l := &lease{
		vars: client.Variables(), path: args[0], namespace: s.conn.namespace,
		ttl: c.ttl, delay: c.delay, retries: c.retries, trace: func(string, ...any) {},
	}
	if c.verbose {
		l.trace = s.note
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	if err := acquireUnlessSignalled(s.ctx, l, signals); err != nil {
		return err
	}
	l.trace("holding the lock of %s", l.path)
	return c.guard(s, l, args[1:], signals)
}

// acquireUnlessSignalled gives up waiting when the user wants to stop.
func acquireUnlessSignalled(ctx context.Context, l *lease, signals <-chan os.Signal) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- l.acquire(ctx) }()
	for {
		select {
		case err := <-result:
			return err
		case sig := <-signals:
			if sig == syscall.SIGUSR1 || sig == syscall.SIGUSR2 {
				continue
			}
			cancel()
			if <-result == nil {
				_ = releaseSoon(l)
			}
			return interrupted(sig)
		}
	}
}

func interrupted(sig os.Signal) error {
	code := exitFailed
	if n, ok := sig.(syscall.Signal); ok {
		code = 128 + int(n)
	}
	return &failure{code: code, err: errors.New("interrupted while waiting for the lock"), hint: "the command was not started"}
}

// releaseSoon releases although the context of the work has ended.
func releaseSoon(l *lease) error {
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	return l.release(ctx)
}

// guard runs the command under the held lock.
func (c *varLock) guard(s *session, l *lease, words []string, signals <-chan os.Signal) error {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	ch, err := startChild(s, c.commandLine(words))
	if err != nil {
		_ = releaseSoon(l)
		return err
	}
	lost := make(chan error, 1)
	go func() { lost <- l.keep(ctx) }()
	for {
		select {
		case sig := <-signals:
			forward(ch, sig)
		case err := <-lost:
			if err == nil {
				err = context.Cause(ctx)
			}
			return c.abandon(s, ch, err)
		case code := <-ch.done:
			cancel()
			if err := <-lost; err == nil {
				c.finish(s, l)
			}
			if code == 0 {
				return nil
			}
			return &failure{code: code}
		}
	}
}

// forward hands a signal on. An interrupt from the terminal has reached a
// command that shares it already.
func forward(ch *child, sig os.Signal) {
	n, ok := sig.(syscall.Signal)
	if !ok || (!ch.grouped && (n == syscall.SIGINT || n == syscall.SIGQUIT)) {
		return
	}
	ch.signal(n)
}

func (c *varLock) abandon(s *session, ch *child, cause error) error {
	text, _ := s.explain(cause)
	s.warn("%s: stopping the command", text)
	code := ch.stop(c.grace)
	return &failure{
		code: exitLockLost,
		err:  fmt.Errorf("%w, the command was stopped with code %d", errLockLost, code),
		hint: "somebody else may hold it now: run the command again to wait for it",
	}
}

func (c *varLock) finish(s *session, l *lease) {
	if err := releaseSoon(l); err != nil {
		text, _ := s.explain(err)
		s.warn("the lock of %s was not released and expires by itself: %s", l.path, text)
		return
	}
	l.trace("released the lock of %s", l.path)
}

func (c *varLock) commandLine(words []string) []string {
	if c.shell || (len(words) == 1 && strings.ContainsAny(words[0], " \t\n")) {
		return []string{"sh", "-c", strings.Join(words, " ")}
	}
	return words
}
