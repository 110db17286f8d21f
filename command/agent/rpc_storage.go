package agent

import (
	"context"
	"fmt"
	"strings"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jsonrpc"
	"github.com/cairn-project/cairn/nomad"
)

// storageMethods look after what this server keeps on disk. Both take as long as
// the disk does, so they answer with an operation.
func (n *rpcNode) storageMethods() []operatorMethod {
	verify := newOperatorMethod("admin_storage_verify",
		"read the Raft log and the snapshots of this server against their checksums; answers at once, get_operations says what is damaged",
		(*acl.ACL).AllowAgentWrite, n.verifyStorage)
	compact := newOperatorMethod("admin_storage_compact",
		"take a snapshot on this server and forget the part of its log that it makes superfluous; answers at once, get_operations tells the outcome",
		(*acl.ACL).AllowAgentWrite, n.compactStorage)
	verify.Privileged, compact.Privileged = true, true
	verify.Errata, compact.Errata = inProgressErrata, inProgressErrata
	return []operatorMethod{verify, compact}
}

var inProgressErrata = []jsonrpc.ErrataRange{{From: errataInProgress, To: errataInProgress, Meaning: "6004 in progress"}}

// verifyStorage begins to read everything.
func (n *rpcNode) verifyStorage(ctx context.Context, _ noParams) (operationRef, error) {
	if err := n.hasStorage(); err != nil {
		return operationRef{}, err
	}
	spec := operationSpec{kind: "admin_storage_verify", name: "read what the server keeps against its checksums",
		caller: jsonrpc.CallerOf(ctx).String(), prefix: "op-", steps: []string{"read the log", "read the snapshots"}, alone: true}
	return n.operations.begin(spec, func(ctx context.Context, run *operationRun) error {
		damaged := 0
		for i, look := range []func(context.Context) (*nomad.StorageCheck, error){n.server.VerifyLog, n.server.VerifySnapshots} {
			err := run.step(i, func() error {
				found, err := look(ctx)
				if err != nil {
					return err
				}
				run.note(i, summary(found))
				return damage(found)
			})
			if err != nil {
				damaged++
			}
		}
		if damaged > 0 {
			return errs.New(errs.PreconditionFailed, "not everything could be read: the steps say what. Other servers have copies; take this one out of the cluster and let it join again with an empty data directory")
		}
		return nil
	})
}

func summary(c *nomad.StorageCheck) string {
	if c.Items == 0 {
		return "there is nothing"
	}
	return fmt.Sprintf("%d read with %d bytes, indexes %d to %d", c.Items, c.Bytes, c.First, c.Last)
}

// damage is the error that lists what is wrong, nil where nothing is.
func damage(c *nomad.StorageCheck) error {
	if len(c.Problems) == 0 {
		return nil
	}
	text := strings.Join(c.Problems, "; ")
	if c.More > 0 {
		text += fmt.Sprintf("; and %d more", c.More)
	}
	return errs.New(errs.PreconditionFailed, text)
}

// compactStorage begins to take a snapshot.
func (n *rpcNode) compactStorage(ctx context.Context, _ noParams) (operationRef, error) {
	if err := n.hasStorage(); err != nil {
		return operationRef{}, err
	}
	spec := operationSpec{kind: "admin_storage_compact", name: "take a snapshot and shorten the log",
		caller: jsonrpc.CallerOf(ctx).String(), prefix: "op-", steps: []string{"take a snapshot, shorten the log"}, alone: true}
	return n.operations.begin(spec, func(ctx context.Context, run *operationRun) error {
		before := n.logExtent(ctx)
		return run.step(0, func() error {
			taken, err := n.server.CompactLog()
			switch {
			case err != nil:
				return err
			case !taken:
				run.note(0, "the newest snapshot has everything: the log stays as it is, "+before)
			default:
				run.note(0, "the log was "+before+", and is "+n.logExtent(ctx))
			}
			return nil
		})
	})
}

// logExtent says which entries the log has and how large all files are.
func (n *rpcNode) logExtent(ctx context.Context) string {
	first, last, err := n.server.LogBounds()
	if err != nil {
		return "unknown: " + err.Error()
	}
	text := fmt.Sprintf("%d to %d", first, last)
	if status, err := n.storageStatus(ctx); err == nil && status.Dir != "" {
		sum := int64(0)
		for _, size := range status.Bytes {
			sum += size
		}
		text += fmt.Sprintf(" with %d bytes of files", sum)
	}
	return text
}

// hasStorage refuses on an agent without a server, and before its server has opened its stores.
func (n *rpcNode) hasStorage() error {
	_, _, err := n.server.LogBounds()
	return err
}
