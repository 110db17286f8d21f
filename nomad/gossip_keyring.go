package nomad

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// gossipKeyringFile holds the gossip keys in the data directory: a JSON array of
// keys in base64, the first of which encrypts. The format is that of serf, which
// writes the file in place whenever the keys change: a crash may leave a part of it, and
// gossipKeyringCopy, which this server writes behind it, is whole at all times.
const (
	gossipKeyringFile = "serf.keyring"
	gossipKeyringCopy = "serf.keyring.copy"
)

// gossipKeyringCheck is how often a server looks whether its keys changed.
const gossipKeyringCheck = 250 * time.Millisecond

// setupGossipKeys gives gossip its keys, if it is to be encrypted: those of the
// file in the data directory, which the configured key begins when there is none.
func (s *Server) setupGossipKeys(conf *serf.Config, logger hclog.Logger) error {
	configured, path := s.config.Gossip.EncryptKey, ""
	keys := [][]byte{configured}
	if s.config.DataDir != "" {
		path = filepath.Join(s.config.DataDir, gossipKeyringFile)
		kept, err := keptGossipKeys(s.config.DataDir, logger)
		if err != nil {
			return err
		}
		if len(kept) > 0 {
			keys = kept
			warnGossipKey(configured, kept, logger)
		}
		if len(keys[0]) > 0 {
			if err := keepGossipKeys(s.config.DataDir, keys); err != nil {
				return err
			}
		}
	}
	if len(keys[0]) == 0 {
		return nil
	}
	ring, err := memberlist.NewKeyring(keys, keys[0])
	if err != nil {
		return errs.Newf(errs.Invalid, "gossip encryption key: %w", err)
	}
	conf.MemberlistConfig.Keyring, conf.KeyringFile = ring, path
	return nil
}

// keptGossipKeys returns the keys in the data directory, nil for none. Those of the copy
// count when the file was not written to its end.
func keptGossipKeys(dir string, logger hclog.Logger) ([][]byte, error) {
	path := filepath.Join(dir, gossipKeyringFile)
	kept, err := readGossipKeys(path)
	if len(kept) > 0 {
		return kept, nil
	}
	if _, missing := os.Stat(path); errors.Is(missing, fs.ErrNotExist) {
		return nil, nil // so that an operator can begin anew
	}
	from, copyErr := readGossipKeys(filepath.Join(dir, gossipKeyringCopy))
	if len(from) == 0 || copyErr != nil {
		return nil, err
	}
	logger.Warn("the gossip keyring was not written to its end, its copy is in force", "file", gossipKeyringFile, "error", err)
	return from, nil
}

// keepGossipKeys writes the file and its copy, each whole or as before.
func keepGossipKeys(dir string, keys [][]byte) error {
	return errors.Join(writeGossipKeys(filepath.Join(dir, gossipKeyringCopy), keys), writeGossipKeys(filepath.Join(dir, gossipKeyringFile), keys))
}

// runGossipKeys writes the keys to the disk, whole and for good, soon after they have changed.
func (s *Server) runGossipKeys(ctx context.Context) {
	if s.gossipRing == nil || s.config.DataDir == "" {
		return
	}
	tick := time.NewTicker(gossipKeyringCheck)
	defer tick.Stop()
	kept := bytes.Join(s.gossipRing.GetKeys(), nil)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		keys := s.gossipRing.GetKeys()
		now := bytes.Join(keys, nil)
		if bytes.Equal(now, kept) {
			continue
		}
		if err := keepGossipKeys(s.config.DataDir, keys); err != nil {
			s.logger.Error("could not keep the gossip keys, will try again", "error", err)
			continue
		}
		kept = now
	}
}

// warnGossipKey tells of a configured key that the file makes useless.
func warnGossipKey(configured []byte, kept [][]byte, logger hclog.Logger) {
	known := slices.ContainsFunc(kept, func(k []byte) bool { return bytes.Equal(k, configured) })
	if len(configured) > 0 && !known {
		logger.Warn("the configured gossip key is not in the keyring of the data directory, which is in force; "+
			"change keys with `cairn operator gossip keyring`, or remove the file to begin with the configured key", "file", gossipKeyringFile)
	}
}

// maxGossipKeyring bounds the file that is read, far above any that makes sense.
const maxGossipKeyring = 1 << 16

// readGossipKeys returns the keys in the file, nil if there is no file or, as after
// a crash while it was written first, an empty one.
func readGossipKeys(path string) ([][]byte, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil, nil
	}
	if err == nil && info.Size() > maxGossipKeyring {
		err = fmt.Errorf("%d bytes are too many", info.Size())
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, errs.Newf(errs.Invalid, "cannot read the gossip keyring %s: %w", path, err)
	}
	keys, err := parseGossipKeys(text)
	if err != nil {
		return nil, errs.Newf(errs.Invalid, "the gossip keyring %s is damaged (%w): copy the one of another server, or remove it to begin with the configured key", path, err)
	}
	return keys, nil
}

// parseGossipKeys reads what serf writes. Its errors do not show keys.
func parseGossipKeys(text []byte) ([][]byte, error) {
	var encoded []string
	if json.Unmarshal(text, &encoded) != nil {
		return nil, errors.New("it is no list of keys in JSON")
	}
	if len(encoded) == 0 {
		return nil, errors.New("it holds no key")
	}
	keys := make([][]byte, len(encoded))
	for i, e := range encoded {
		key, err := structs.DecodeGossipKey(e)
		if err != nil {
			return nil, err
		}
		keys[i] = key
	}
	return keys, nil
}

// writeGossipKeys makes the file, whole or not at all.
func writeGossipKeys(path string, keys [][]byte) error {
	encoded := make([]string, len(keys))
	for i, k := range keys {
		encoded[i] = base64.StdEncoding.EncodeToString(k)
	}
	text, err := json.MarshalIndent(encoded, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if old, readErr := os.ReadFile(path); readErr == nil && bytes.Equal(old, text) {
		return syncFile(path)
	}
	if err == nil {
		err = writeFileSync(path, text)
	}
	if err != nil {
		return errs.Newf(errs.Invalid, "cannot keep the gossip key in the data directory: %w", err)
	}
	return nil
}

// syncFile has what somebody wrote reach the disk.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// GossipKeys runs an operation on the keyring of every member of the gossip pool,
// those of other regions included. It fails if a live member does not say that it
// is done; what the others did stays done, and doing it again does no harm.
func (s *Server) GossipKeys(ctx context.Context, op structs.GossipKeyOp, key string) (*structs.GossipKeyResponse, error) {
	if err := s.checkGossipKey(op, key); err != nil {
		return nil, err
	}
	var answer *serf.KeyResponse
	var failed error
	err := untilDone(ctx, func() error {
		answer, failed = s.askGossipKeys(op, key)
		return nil
	})
	if err != nil {
		return nil, errs.Wrap(errs.Deadline, "the caller did not wait for the gossip members", err)
	}
	if failed != nil && answer.NumNodes == 0 {
		return nil, errs.Newf(errs.Unavailable, "the gossip members could not be asked: %w", failed)
	}
	reply := &structs.GossipKeyResponse{Messages: answer.Messages, Keys: answer.Keys, PrimaryKeys: answer.PrimaryKeys, NumNodes: answer.NumNodes}
	delete(reply.PrimaryKeys, "") // of members that said nothing of keys
	if failed != nil && (op != structs.GossipKeyList || answer.NumResp == answer.NumErr) {
		return nil, gossipKeyFailure(op, answer)
	}
	if missing := answer.NumNodes - answer.NumResp; missing > 0 {
		reply.Messages["gossip"] = fmt.Sprintf("%d of %d members did not answer in time", missing, answer.NumNodes)
	}
	s.noteAbsent(reply)
	s.logger.Info("gossip keyring", "operation", op, "members", answer.NumNodes, "answers", answer.NumResp)
	return reply, nil
}

func (s *Server) askGossipKeys(op structs.GossipKeyOp, key string) (*serf.KeyResponse, error) {
	manager := s.serf.KeyManager()
	switch op {
	case structs.GossipKeyInstall:
		return manager.InstallKey(key)
	case structs.GossipKeyUse:
		return manager.UseKey(key)
	case structs.GossipKeyRemove:
		return manager.RemoveKey(key)
	}
	return manager.ListKeys()
}

// checkGossipKey refuses what the members would refuse, in words that help.
func (s *Server) checkGossipKey(op structs.GossipKeyOp, text string) error {
	ring := s.gossipRing
	if ring == nil {
		return errs.New(errs.PreconditionFailed, "gossip is not encrypted: set `encrypt` in the server block of every server to the same key and restart them")
	}
	if op == structs.GossipKeyList {
		return nil
	}
	key, err := structs.DecodeGossipKey(text)
	if err != nil {
		return err
	}
	here := slices.ContainsFunc(ring.GetKeys(), func(k []byte) bool { return bytes.Equal(k, key) })
	switch {
	case op == structs.GossipKeyUse && !here:
		return errs.New(errs.Invalid, "the key is not in the keyring: install it first")
	case op == structs.GossipKeyRemove && bytes.Equal(ring.GetPrimaryKey(), key):
		return errs.New(errs.Invalid, "the key encrypts gossip now: use another one before this one is removed")
	}
	return nil
}

// gossipKeyFailure says which members failed, and why.
func gossipKeyFailure(op structs.GossipKeyOp, r *serf.KeyResponse) error {
	parts := []string{fmt.Sprintf("%s: %d of %d members are done", op, r.NumResp-r.NumErr, r.NumNodes)}
	for _, name := range slices.Sorted(maps.Keys(r.Messages)) {
		parts = append(parts, name+": "+r.Messages[name])
	}
	if silent := r.NumNodes - r.NumResp; silent > 0 {
		parts = append(parts, fmt.Sprintf("%d did not answer in time", silent))
	}
	return errs.New(errs.Unavailable, strings.Join(parts, "; ")+"; mend the members that failed and try again")
}

// noteAbsent names the members that could not take part and will come back with
// the keys that they had.
func (s *Server) noteAbsent(reply *structs.GossipKeyResponse) {
	for _, m := range s.serf.Members() {
		if m.Status == serf.StatusFailed {
			reply.Messages[m.Name] = "has failed and was not asked: it keeps the keys it had, and can come back only while the others have one of them"
		}
	}
}
