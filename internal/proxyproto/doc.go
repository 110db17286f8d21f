// Package proxyproto reads the header with which a proxy for TCP tells whose
// connection it passes on: the PROXY protocol, versions 1 and 2, as
// https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt describes it.
package proxyproto
