package agent

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
)

// wrapTLS makes ln speak TLS, or returns it as it is when TLS is off.
func (t *TLSConfig) wrapTLS(ln net.Listener) (net.Listener, error) {
	if !t.EnableHTTP {
		return ln, nil
	}
	cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("tls: loading the certificate: %w", err)
	}
	suites, err := t.cipherSuites()
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   t.minVersion(),
		CipherSuites: suites,
		NextProtos:   []string{"http/1.1"},
	}
	if t.VerifyHTTPSClient {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("tls: reading ca_file: %w", err)
		}
		conf.ClientCAs = x509.NewCertPool()
		if !conf.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("tls: ca_file holds no certificate")
		}
		conf.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return tls.NewListener(ln, conf), nil
}
