package agent

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jsonrpc"
	"github.com/cairn-project/cairn/nomad/archive"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// defaultKeep is how many archives stay of those that were made.
	defaultKeep = 7
	// archiveTime names an archive for which no name was given.
	archiveTime = "cairn-20060102T150405.000Z.snap"
)

// snapshotSaveParams ask for an archive of the state.
type snapshotSaveParams struct {
	// Name is that of the file, "" for one that tells the time.
	Name string `json:"name,omitempty"`
	// Keep is how many of the archives that this method made stay, nil for defaultKeep.
	Keep *int `json:"keep,omitempty"`
	// Stale has any server answer from what it has.
	Stale bool `json:"stale,omitempty"`
}

// snapshotRestoreParams ask for an archive to take the place of the state.
type snapshotRestoreParams struct {
	Name string `json:"name"`
	// OtherRegion takes an archive of a region of another name.
	OtherRegion bool `json:"other_region,omitempty"`
}

// snapshotList is the result of get_snapshots.
type snapshotList struct {
	Dir       string           `json:"dir"`
	Snapshots []*savedSnapshot `json:"snapshots"`
	// Total counts those too that are not shown for their number.
	Total int `json:"total"`
}

// snapshotMethods keep archives of the state on the disk of this agent. The servers decide
// by the caller's token, before anything begins and again when it does.
func (n *rpcNode) snapshotMethods() []operatorMethod {
	save := newOperatorMethod("admin_snapshot_save",
		"save the state of the cluster as an archive below the data directory of this agent, and let the oldest of those go that it made; answers at once, get_operations tells path, size and SHA-256",
		byServer, n.saveSnapshot)
	restore := newOperatorMethod("admin_snapshot_restore",
		"have an archive from below the data directory of this agent take the place of the whole state, once all of it was checked; answers at once, get_operations tells the outcome",
		byServer, n.restoreSnapshot)
	save.Privileged, restore.Privileged = true, true
	save.Errata, restore.Errata = inProgressErrata, inProgressErrata
	save.Examples = []jsonrpc.Example{{Params: []byte(`{}`)}, {Params: []byte(`{"name":"before-upgrade.snap","keep":14}`)}}
	restore.Examples = []jsonrpc.Example{{Params: []byte(`{"name":"before-upgrade.snap"}`)}}
	return []operatorMethod{save, restore,
		newReading("get_snapshots", "the archives of the state below the data directory of this agent, newest first: when each was saved, at which index, of which cluster", n.getSnapshots)}
}

func (n *rpcNode) getSnapshots(ctx context.Context) (snapshotList, error) {
	dir, err := n.config.archives()
	if err != nil {
		return snapshotList{}, err
	}
	files, total, err := dir.list(ctx)
	return snapshotList{Dir: string(dir), Snapshots: files, Total: total}, err
}

// mayUse refuses a caller whose token lacks a right at once, and not in an operation later.
func (n *rpcNode) mayUse(ctx context.Context, caller jsonrpc.Caller, right acl.OperatorCapability) error {
	rights, err := n.server.Authorize(ctx, caller.Token)
	if err != nil {
		return err
	}
	need := func(a *acl.ACL) bool { return a.AllowOperatorCapability(right) }
	if !need(rights) {
		n.server.Refused(rights, need)
		return errs.Newf(errs.PermissionDenied, "the token does not grant this: it takes the capability %q of operator, or management", right)
	}
	return nil
}

// saveSnapshot begins to save the state.
func (n *rpcNode) saveSnapshot(ctx context.Context, p snapshotSaveParams) (operationRef, error) {
	caller, keep := jsonrpc.CallerOf(ctx), defaultKeep
	if p.Keep != nil {
		keep = *p.Keep
	}
	if keep < 1 {
		return operationRef{}, jsonrpc.InvalidParams("/keep", fmt.Sprintf("must be 1 at least, for the archive that is made; it is %d when it is left out", defaultKeep))
	}
	if err := n.mayUse(ctx, caller, acl.SnapshotSave); err != nil {
		return operationRef{}, err
	}
	dir, err := n.config.archives()
	if err != nil {
		return operationRef{}, err
	}
	if p.Name == "" {
		p.Name = time.Now().UTC().Format(archiveTime)
	}
	path, err := dir.path(p.Name)
	if err != nil {
		return operationRef{}, err
	}
	if _, err := os.Lstat(path); err == nil {
		return operationRef{}, archive.Taken(path)
	}
	spec := operationSpec{kind: "admin_snapshot_save", name: "save the state as " + p.Name, caller: caller.String(), prefix: "op-",
		steps: []string{"save the state", "remove old archives"}, alone: true}
	return n.operations.begin(spec, func(ctx context.Context, run *operationRun) error {
		ask := &structs.SnapshotSaveRequest{}
		ask.AuthToken, ask.AllowStale = caller.Token, p.Stale
		var file *archive.File
		err := run.step(0, func() (err error) {
			if file, err = n.keepArchive(ctx, dir, path, ask); err == nil {
				run.note(0, fmt.Sprintf("index %d, of the cluster %s in region %s", file.Meta.StateIndex, file.Meta.ClusterID, file.Meta.Region))
				run.say(fmt.Sprintf("%s has %d bytes, sha256 %x", path, file.Size, file.Sum))
			}
			return err
		})
		if err != nil {
			return err
		}
		return run.step(1, func() error {
			gone, err := dir.prune(path, keep)
			if len(gone) > 0 {
				run.note(1, "removed: "+strings.Join(gone, ", "))
			}
			return onDisk(fmt.Sprintf("%s was saved, but old archives stay", path), err)
		})
	})
}

// keepArchive has the servers make an archive and writes it to path.
func (n *rpcNode) keepArchive(ctx context.Context, dir archiveDir, path string, ask *structs.SnapshotSaveRequest) (*archive.File, error) {
	if err := dir.prepare(); err != nil {
		return nil, err
	}
	resp, body, err := n.server.SaveSnapshot(ctx, ask)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return dir.save(path, resp, body)
}

// restoreSnapshot begins to restore an archive.
func (n *rpcNode) restoreSnapshot(ctx context.Context, p snapshotRestoreParams) (operationRef, error) {
	caller := jsonrpc.CallerOf(ctx)
	if err := n.mayUse(ctx, caller, acl.SnapshotRestore); err != nil {
		return operationRef{}, err
	}
	dir, err := n.config.archives()
	if err != nil {
		return operationRef{}, err
	}
	path, err := dir.path(p.Name)
	if err != nil {
		return operationRef{}, err
	}
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return operationRef{}, errs.Newf(errs.NotFound, "there is no archive %q: get_snapshots tells those that are in %s", p.Name, string(dir))
	}
	spec := operationSpec{kind: "admin_snapshot_restore", name: "restore the state of " + p.Name, caller: caller.String(), prefix: "op-",
		steps: []string{"check the archive", "restore"}, alone: true}
	return n.operations.begin(spec, func(ctx context.Context, run *operationRun) error {
		f, err := os.Open(path)
		if err == nil {
			defer f.Close()
		}
		err = run.step(0, func() error {
			if err != nil {
				return onDisk("the archive cannot be read", err)
			}
			return checkFile(run, f)
		})
		if err != nil {
			return err
		}
		ask := &structs.SnapshotRestoreRequest{OtherRegion: p.OtherRegion}
		ask.AuthToken = caller.Token
		return run.step(1, func() error {
			resp, err := n.server.RestoreSnapshot(ctx, ask, f)
			if err == nil {
				run.say(fmt.Sprintf("restored: the index was %d and is %d, the archive is of index %d", resp.Before, resp.Index, resp.ArchiveIndex))
			}
			return err
		})
	})
}

// checkFile reads an archive against its sums, and goes back to its beginning.
func checkFile(run *operationRun, f *os.File) error {
	m, err := archive.Verify(f)
	if err != nil {
		return onDisk("the archive cannot be read", err)
	}
	run.note(0, fmt.Sprintf("saved at %s at index %d, of the cluster %s in region %s", m.Created.Format(time.RFC3339), m.StateIndex, m.ClusterID, m.Region))
	_, err = f.Seek(0, io.SeekStart)
	return err
}
