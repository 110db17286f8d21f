package nomad

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// bootstrapResetFile is where an operator who lost all management tokens writes
// the reset index, in the data directory of the leader.
const bootstrapResetFile = "acl-bootstrap-reset"

// maxSmallFile bounds what is read of a file that holds one word.
const maxSmallFile = 1 << 10

// errBootstrapByFile keeps whoever calls first from taking a cluster whose first
// token the operator has declared.
var errBootstrapByFile = errs.New(errs.Invalid,
	"the first management token comes from the file that the servers are configured with (acl.initial_management_token_file): use its secret, "+
		"and see the log of the leader if it is not known")

var aclBootstrap = newLeader("ACL.Bootstrap",
	anyone[structs.ACLTokenBootstrapRequest],
	func(ctx context.Context, c *leaderCall, r *structs.ACLTokenBootstrapRequest, reply *structs.ACLTokenUpsertResponse) error {
		if err := r.Validate(); err != nil {
			return err
		}
		if c.srv.config.ACL.BootstrapSecretFile != "" && c.srv.state.Snapshot().ACLBootstrapIndex() == 0 {
			return errBootstrapByFile
		}
		res, err := c.bootstrapACL(ctx, r.BootstrapSecret)
		if err != nil {
			return err
		}
		return tellBootstrap(ctx, c, r, reply, res)
	}).shared(always[structs.ACLTokenBootstrapRequest])

// tellBootstrap answers with the token of a bootstrap.
func tellBootstrap(_ context.Context, c *leaderCall, _ *structs.ACLTokenBootstrapRequest, reply *structs.ACLTokenUpsertResponse, res applied) (err error) {
	reply.Index = res.index
	reply.Tokens, err = c.storedTokens(res)
	return err
}

// bootstrapACL makes the first management token, with the secret or a random one
// for "". A second one is made only for an operator who can write to the leader's disk.
func (c *leaderCall) bootstrapACL(ctx context.Context, secret string) (applied, error) {
	sn := c.srv.state.Snapshot()
	var reset uint64
	if last := sn.ACLBootstrapIndex(); last != 0 {
		var err error
		if reset, err = c.srv.bootstrapReset(); err != nil {
			return applied{}, err
		}
		if reset != last {
			return applied{}, errs.Newf(errs.Invalid, "ACL bootstrap already done (reset index: %d)", last)
		}
	}
	if secret == "" {
		secret = uuid.NewString()
	}
	if sn.ACLTokenBySecret(nil, secret) != nil {
		return applied{}, errs.New(errs.Invalid, "the bootstrap secret is already in use: choose another one")
	}
	token := &structs.ACLToken{
		AccessorID: uuid.NewString(), SecretID: secret, Name: "Bootstrap Token",
		Type: structs.ACLManagementToken, Global: true,
	}
	token.SetExpiration(time.Now())
	token.SetHash()
	entry := &structs.ACLTokenBootstrapRequest{Token: token, ResetIndex: reset}
	res, err := c.apply(ctx, structs.ACLTokenBootstrapRequestType, entry)
	if err == nil {
		c.srv.logger.Info("made the first management token", "accessor_ids", res.rows())
	}
	return res, err
}

// bootstrapReset returns the index in the reset file, 0 if there is none.
func (s *Server) bootstrapReset() (uint64, error) {
	if s.config.DataDir == "" {
		return 0, nil
	}
	text, err := readSmallFile(filepath.Join(s.config.DataDir, bootstrapResetFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, errs.Wrap(errs.Internal, "the leader cannot read its file "+bootstrapResetFile, err)
	}
	index, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, errs.Newf(errs.Invalid, "the file %s of the leader must hold the reset index and nothing else", bootstrapResetFile)
	}
	return index, nil
}

// readSmallFile returns the text of a file without the space around it.
func readSmallFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSmallFile+1))
	if err != nil {
		return "", err
	}
	if len(b) > maxSmallFile {
		return "", fmt.Errorf("%s holds more than %d bytes", path, maxSmallFile)
	}
	return string(bytes.TrimSpace(b)), nil
}

// startBootstrap makes the first management token from the configured file. A
// file that cannot be used is reported and keeps nobody from leading.
func (s *Server) startBootstrap(t *term) error {
	path := s.config.ACL.BootstrapSecretFile
	if !s.auth.Enabled() || s.copies() || path == "" || s.state.Snapshot().ACLBootstrapIndex() != 0 {
		return nil
	}
	secret, err := readSmallFile(path)
	if err != nil {
		s.logger.Error("cannot read the file with the secret of the first management token; correct it and restart", "error", err)
		return nil
	}
	if uuid.Validate(secret) != nil {
		s.logger.Error("cannot use the file with the secret of the first management token: it must hold one UUID; correct it and restart", "path", path)
		return nil
	}
	if _, err := (&leaderCall{srv: s, epoch: s.state.Snapshot().Restored()}).bootstrapACL(t.ctx, secret); err != nil && !errors.Is(err, errs.Invalid) {
		return err
	}
	return nil
}
