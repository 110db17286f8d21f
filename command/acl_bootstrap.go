package command

import (
	"strings"

	"github.com/hashicorp/nomad/api"
)

// aclBootstrap makes the first management token.
type aclBootstrap struct{}

func (*aclBootstrap) about() about {
	return about{
		synopsis: "create first management token",
		usage:    "[options] [<file> | -]",
		text: "Makes the first token of the cluster, which may do everything, and prints it with its secret: nobody can read the secret again without it. This works once." +
			"\n\nThe secret may be one of your own: a UUID in a file or, with -, on standard input." +
			"\n\nIf the token is lost, write the reset index that the error names into server/acl-bootstrap-reset of the leader's data directory, and run the command again.",
		examples: [][2]string{
			{"Begin", "cairn acl bootstrap"},
			{"With a secret that you made", "uuidgen | tee secret | cairn acl bootstrap -json -"},
		},
		max:    1,
		groups: withAgent | withData,
		args:   anyFile,
	}
}

func (*aclBootstrap) flags(*flags) {}

func (*aclBootstrap) run(s *session, args []string) error {
	secret := ""
	if len(args) > 0 {
		src, err := s.readFile(args[0])
		if err != nil {
			return usagef("the secret is read from a file, or with - from standard input: %s", unnamed(err))
		}
		if secret = strings.TrimSpace(string(src)); secret == "" {
			return usagef("%s is empty: it must hold the secret, a UUID", args[0])
		}
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	client.SetSecretID("")
	var t *api.ACLToken
	if secret == "" {
		t, _, err = client.ACLTokens().Bootstrap(s.write())
	} else {
		t, _, err = client.ACLTokens().BootstrapOpts(secret, s.write())
	}
	if err != nil {
		return bootstrapFailed(err)
	}
	return s.showToken(t, true)
}

// bootstrapFailed explains a refusal. Whoever comes too late is told the way back in.
func bootstrapFailed(err error) error {
	out := failed("bootstrapping access control", err)
	if _, at, late := strings.Cut(err.Error(), "reset index: "); late {
		return hinted(out, "the first token was made before: use that one; if all management tokens are lost, write "+strings.TrimRight(at, ")")+
			" into acl-bootstrap-reset in the directory of the leader's server (`cairn acl bootstrap -h`) and try again")
	}
	return out
}
