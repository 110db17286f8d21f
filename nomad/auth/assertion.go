package auth

import (
	"cmp"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"
	"github.com/hashicorp/cap/oidc"
	"github.com/hashicorp/cap/oidc/clientassertion"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// assertionLife is how long a client assertion is valid.
	assertionLife = 5 * time.Minute
	// maxKeyFile bounds a file with a key or a certificate, in bytes.
	maxKeyFile = 64 << 10
)

// assertion returns what proves the cluster to the provider of a method instead of
// a client secret (RFC 7523), nil for a method that does without.
func (l *Logins) assertion(m *structs.ACLAuthMethod) (oidc.JWTSerializer, error) {
	a := m.Config.OIDCClientAssertion
	if a == nil {
		return nil, nil
	}
	audience := a.Audience
	if len(audience) == 0 {
		audience = []string{m.Config.OIDCDiscoveryURL}
	}
	var out oidc.JWTSerializer
	var err error
	switch a.KeySource {
	case "nomad":
		out, err = l.ownAssertion(m.Config.OIDCClientID, audience, a)
	case "client_secret":
		alg := clientassertion.HSAlgorithm(cmp.Or(a.KeyAlgorithm, string(clientassertion.HS256)))
		out, err = clientassertion.NewJWTWithHMAC(m.Config.OIDCClientID, audience, alg, m.Config.OIDCClientSecret, clientassertion.WithHeaders(a.ExtraHeaders))
	default:
		out, err = keyAssertion(m.Config.OIDCClientID, audience, a)
	}
	if err != nil {
		return nil, errs.Newf(errs.Invalid, "the OIDCClientAssertion of auth method %s is not usable: %s", m.Name, oneLine(err))
	}
	return out, nil
}

// clusterAssertion signs with the keyring, whose keys the provider finds at
// /.well-known/jwks.json.
type clusterAssertion struct {
	sign   func(claims any) (token, keyID string, err error)
	claims jwt.Claims
}

func (l *Logins) ownAssertion(client string, audience []string, a *structs.OIDCClientAssertion) (oidc.JWTSerializer, error) {
	switch {
	case l.Sign == nil:
		return nil, errors.New("this server has no keyring")
	case len(a.ExtraHeaders) > 0:
		return nil, errors.New("ExtraHeaders need a key of your own: use the key source private_key")
	case a.KeyAlgorithm != "" && a.KeyAlgorithm != string(clientassertion.RS256):
		return nil, errors.New("the keys of the cluster sign with RS256")
	}
	return &clusterAssertion{l.Sign, jwt.Claims{Issuer: client, Subject: client, Audience: audience}}, nil
}

// Serialize returns the signed assertion.
func (c *clusterAssertion) Serialize() (string, error) {
	claims, now := c.claims, time.Now()
	claims.ID = uuid.NewString()
	claims.IssuedAt, claims.NotBefore, claims.Expiry = jwt.NewNumericDate(now), jwt.NewNumericDate(now), jwt.NewNumericDate(now.Add(assertionLife))
	token, _, err := c.sign(&claims)
	return token, err
}

// keyAssertion signs with a key of the method's writer.
func keyAssertion(client string, audience []string, a *structs.OIDCClientAssertion) (oidc.JWTSerializer, error) {
	k := a.PrivateKey
	if k == nil {
		return nil, errors.New("it has no PrivateKey")
	}
	key, err := privateKey(k)
	if err != nil {
		return nil, err
	}
	headers := map[string]string{}
	maps.Copy(headers, a.ExtraHeaders)
	name, id, err := keyID(k)
	if err != nil {
		return nil, err
	}
	options := []clientassertion.Option{clientassertion.WithHeaders(headers)}
	if name == clientassertion.KeyIDHeader {
		options = append(options, clientassertion.WithKeyID(id))
	} else {
		headers[name] = id
	}
	alg := clientassertion.RSAlgorithm(cmp.Or(a.KeyAlgorithm, string(clientassertion.RS256)))
	return clientassertion.NewJWTWithRSAKey(client, audience, alg, key, options...)
}

// privateKey reads the RSA key, in PKCS #1 or #8. No error says what is in a file.
func privateKey(k *structs.OIDCClientAssertionKey) (*rsa.PrivateKey, error) {
	block, err := pemBlock(k.PemKey, k.PemKeyFile)
	if err != nil {
		return nil, fmt.Errorf("PrivateKey: %w", err)
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(*rsa.PrivateKey)
	if err != nil || !ok {
		return nil, errors.New("PrivateKey: it must be an RSA key in PKCS #1 or PKCS #8")
	}
	return key, nil
}

// keyID returns the header that names the key, and its value: an ID, or the
// thumbprint of a certificate (RFC 7515, sections 4.1.4, 4.1.7 and 4.1.8).
func keyID(k *structs.OIDCClientAssertionKey) (header, value string, err error) {
	if k.KeyID != "" {
		return cmp.Or(k.KeyIDHeader, clientassertion.KeyIDHeader), k.KeyID, nil
	}
	block, err := pemBlock(k.PemCert, k.PemCertFile)
	if err != nil {
		return "", "", fmt.Errorf("PemCert: %w", err)
	}
	if _, err := x509.ParseCertificate(block.Bytes); err != nil {
		return "", "", errors.New("PemCert: it must be a certificate")
	}
	if header = cmp.Or(k.KeyIDHeader, "x5t#S256"); header == "x5t" {
		sum := sha1.Sum(block.Bytes)
		return header, base64.RawURLEncoding.EncodeToString(sum[:]), nil
	}
	sum := sha256.Sum256(block.Bytes)
	return header, base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// pemBlock returns the first block of a text, or of a file on this server if the text is "".
func pemBlock(text, file string) (*pem.Block, error) {
	if text == "" {
		f, err := os.Open(file)
		if err != nil {
			return nil, errors.New("the leader cannot read its file")
		}
		defer f.Close()
		b, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
		if err != nil {
			return nil, errors.New("the leader cannot read its file")
		}
		text = string(b)
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("it is not in PEM")
	}
	return block, nil
}
