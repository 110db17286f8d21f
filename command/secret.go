package command

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// longestShown is how long a word in the wrong place may be to be shown: secrets of
// tokens, identities and keys are longer.
const longestShown = 16

// shown quotes a word that stands where none is expected, unless it may be a secret:
// messages end up in logs and bug reports.
func shown(word string) string {
	if len(word) <= longestShown {
		return strconv.Quote(word)
	}
	return fmt.Sprintf("a word of %d characters (not shown, it may be a secret)", len(word))
}

// tokenKinds are what is found by an ID beside which there is a secret, and what to say of an
// ID that nothing has.
var tokenKinds = map[string]string{"token": "no token has this accessor ID", "join token": "no join token has this ID"}

// objectFailed says what went wrong in doing something, "" for finding it, to an object of the kind what. A
// secret that was given for the ID of a token is not repeated; most look alike.
func objectFailed(doing, what, id string, err error) error {
	absent, token := tokenKinds[what]
	if !token || len(id) <= longestShown {
		return failed(strings.TrimSpace(doing+" "+what+" "+clean(id)), err)
	}
	if isStatus(err, http.StatusNotFound) {
		return errors.New(absent) // the agent's answer may name the ID
	}
	var address *url.Error
	if errors.As(err, &address) { // it has the ID in it
		err = address.Err
	}
	return failed(doing+" the "+what, err)
}

// unnamed takes the name of the file out of an error: where files with secrets are
// named, it may be the secret itself.
func unnamed(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return fmt.Errorf("the file cannot be read: %w", path.Err)
	}
	return err
}

// shown is the address without a password.
func (c *connection) shown() string {
	if u, err := url.Parse(c.address); err == nil {
		if u.User == nil {
			return c.address
		}
		return u.Redacted()
	}
	if at := strings.LastIndexByte(c.address, '@'); at >= 0 {
		return "…" + c.address[at:]
	}
	return c.address
}

// unusable says that the address is none. The cause would quote parts of it.
func (c *connection) unusable() error {
	return fmt.Errorf("bad address %q: it must be such as %s", c.shown(), defaultAddress)
}
