package nomad

import (
	"cmp"
	"context"
	"slices"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Keyring answers the RPCs on root keys.
type Keyring struct{ srv *Server }

var keyringTables = []string{state.RootKeys.Name()}

var keyringListPublic = newRead("Keyring.ListPublic", keyringTables,
	anyone[structs.GenericRequest],
	func(v *view, _ *structs.GenericRequest, reply *structs.KeyringListPublicResponse) error {
		stored := map[string]bool{}
		for k := range v.RootKeys(v.ws) {
			stored[k.KeyID] = true
		}
		reply.PublicKeys = []*structs.KeyringPublicKey{}
		for _, k := range v.srv.keyring.PublicKeys() {
			if stored[k.KeyID] {
				reply.PublicKeys = append(reply.PublicKeys, k)
			}
		}
		reply.RotationThreshold = v.srv.config.RootKeyRotationThreshold
		return nil
	})

var keyringList = newRead("Keyring.List", keyringTables,
	delegated[structs.KeyringListRootKeyMetaRequest](acl.KeyringRead),
	func(v *view, _ *structs.KeyringListRootKeyMetaRequest, reply *structs.KeyringListRootKeyMetaResponse) error {
		reply.Keys = []*structs.RootKeyMeta{}
		for k := range v.RootKeys(v.ws) {
			meta := k.RootKeyMeta
			reply.Keys = append(reply.Keys, &meta)
		}
		slices.SortFunc(reply.Keys, func(a, b *structs.RootKeyMeta) int { return cmp.Compare(b.CreateTime, a.CreateTime) })
		return nil
	})

// ListPublic lists the keys that verify what the cluster signs.
func (k *Keyring) ListPublic(ctx context.Context, args *structs.GenericRequest, reply *structs.KeyringListPublicResponse) error {
	return keyringListPublic.serve(ctx, k.srv, args, reply)
}

// List lists what may be told about the root keys, newest first.
func (k *Keyring) List(ctx context.Context, args *structs.KeyringListRootKeyMetaRequest, reply *structs.KeyringListRootKeyMetaResponse) error {
	return keyringList.serve(ctx, k.srv, args, reply)
}
