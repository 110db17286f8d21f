// Package enroll gives an agent the certificate of the cluster's own authority:
// the first server makes the authority, every other agent joins with a token.
// It keeps what was given in a directory, and mends what has expired there.
package enroll

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/tlsconf"
)

// Dir is the directory of an agent's certificate. Nobody but the agent may read it.
type Dir string

// The files. The names are frozen.
const (
	// identityFile holds the certificate, that of its authority, and the key. It
	// is written last: where it is, everything is.
	identityFile = "identity.pem"
	// bundleFile holds the authorities that are trusted.
	bundleFile = "ca.pem"
	gossipFile = "gossip.key"
	// clusterFile says where the others are.
	clusterFile = "cluster.json"
	// pendingFile holds the key of a join that has no answer yet.
	pendingFile = "pending-key.pem"
	// seedFile holds the key of a new authority until it is in the state.
	seedFile = "authority-key.pem"
	// recoveryFile holds what a server needs to make itself a certificate while
	// no server has one that is valid.
	recoveryFile = "recovery"
)

// Cluster is where the servers of the region were last.
type Cluster struct {
	Region string
	// GossipServers and Servers are addresses, host:port, of gossip and of the
	// server port.
	GossipServers []string
	Servers       []string
}

func (d Dir) path(name string) string { return filepath.Join(string(d), name) }

// Exists reports whether the directory holds a certificate.
func (d Dir) Exists() bool {
	_, err := os.Stat(d.path(identityFile))
	return err == nil
}

// Settings says where a tlsconf.Source finds the certificate.
func (d Dir) Settings() tlsconf.Settings {
	return tlsconf.Settings{CAFile: d.path(bundleFile), CertFile: d.path(identityFile), KeyFile: d.path(identityFile)}
}

// write writes a file so that it is whole or as it was after a crash.
func (d Dir) write(name string, data []byte) error {
	if old, err := os.ReadFile(d.path(name)); err == nil && bytes.Equal(old, data) {
		return nil
	}
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return errs.Newf(errs.Invalid, "cannot create the directory of the certificate: %w", err)
	}
	tmp := d.path(name) + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return errs.Newf(errs.Invalid, "cannot keep the certificate: %w", err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, d.path(name))
	}
	if err != nil {
		_ = os.Remove(tmp) // a key that nobody needs
		return errs.Newf(errs.Invalid, "cannot keep the certificate: %w", err)
	}
	return nil
}

// read returns a file, nil if there is none.
func (d Dir) read(name string) ([]byte, error) {
	b, err := os.ReadFile(d.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, errs.Newf(errs.Invalid, "cannot read the certificate's directory, check its owner: %w", err)
	}
	return b, nil
}

func (d Dir) remove(name string) error {
	err := os.Remove(d.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// SaveIdentity keeps a certificate with its key and the authorities to trust.
func (d Dir) SaveIdentity(certPEM, keyPEM, authorities []byte) error {
	if err := d.SaveBundle(authorities); err != nil {
		return err
	}
	return d.write(identityFile, append(bytes.Clone(certPEM), keyPEM...))
}

// SaveBundle keeps the authorities to trust.
func (d Dir) SaveBundle(authorities []byte) error { return d.write(bundleFile, authorities) }

// RenewAt returns when the certificate is due for renewal, and when it ends.
func (d Dir) RenewAt() (at, until time.Time, err error) {
	b, err := os.ReadFile(d.path(identityFile))
	if err != nil {
		return at, until, err
	}
	if at, err = tlsconf.RenewAt(b); err != nil {
		return at, until, err
	}
	_, until, err = tlsconf.Lifetime(b)
	return at, until, err
}

// GossipKey returns the key of the gossip pool, nil for none.
func (d Dir) GossipKey() ([]byte, error) {
	b, err := d.read(gossipFile)
	if err != nil || b == nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(b)))
	if err != nil {
		return nil, errs.Newf(errs.Invalid, "the gossip key in %s is damaged: copy it from another server", d.path(gossipFile))
	}
	return key, nil
}

// SaveGossipKey keeps a key, nil for none.
func (d Dir) SaveGossipKey(key []byte) error {
	if len(key) == 0 {
		return nil
	}
	return d.write(gossipFile, []byte(base64.StdEncoding.EncodeToString(key)+"\n"))
}

// Cluster returns where the servers were last; nowhere if that is not known.
func (d Dir) Cluster() (c Cluster, err error) {
	b, err := d.read(clusterFile)
	if err != nil || b == nil {
		return c, err
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return Cluster{}, nil // gossip has a memory of its own
	}
	return c, nil
}

// SaveCluster keeps where the servers are.
func (d Dir) SaveCluster(c Cluster) error {
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return d.write(clusterFile, b)
}

// Seed returns the certificate and the key of an authority that is not in the
// state yet, nil if there is none.
func (d Dir) Seed() (certPEM, keyPEM []byte, err error) {
	b, err := d.read(seedFile)
	if err != nil || b == nil {
		return nil, nil, err
	}
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			certPEM = pem.EncodeToMemory(block)
		} else {
			keyPEM = pem.EncodeToMemory(block)
		}
	}
	return certPEM, keyPEM, nil
}

// DropSeed deletes the key of an authority that is in the state.
func (d Dir) DropSeed() error { return d.remove(seedFile) }

// Bundle returns the authorities that are trusted.
func (d Dir) Bundle() ([]byte, error) { return d.read(bundleFile) }
