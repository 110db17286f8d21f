package agent

import (
	"strconv"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/keyring"
	"github.com/cairn-project/cairn/nomad/structs"
)

func keyringRoutes() []route {
	return []route{
		read(doc{methods: "GET", pattern: "/.well-known/jwks.json", rpc: "Keyring.ListPublic",
			summary: "List the keys that verify what the cluster signs, as a JSON Web Key Set (RFC 7517)."},
			asIs[structs.GenericRequest],
			func(r *request, p *structs.KeyringListPublicResponse) (jose.JSONWebKeySet, error) {
				set, err := keyring.JWKS(p.PublicKeys)
				if err != nil {
					return set, err
				}
				age := keyring.MaxAge(p.PublicKeys, p.RotationThreshold, time.Now())
				r.w.Header().Set("Cache-Control", "max-age="+strconv.FormatInt(int64(age.Seconds()), 10))
				set.Keys = list(set.Keys)
				return set, nil
			}),
		local[nothing](doc{methods: "GET", pattern: "/.well-known/openid-configuration",
			summary: "OpenID discovery document, when an issuer is configured.", status: []int{404}},
			func(*request) error {
				return errs.New(errs.NotFound, "OIDC Discovery endpoint not enabled")
			}),
	}
}
