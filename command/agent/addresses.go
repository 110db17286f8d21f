package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-sockaddr/template"
)

// endpoints are the addresses of an agent once templates are resolved.
type endpoints struct {
	// http and rpc are host:port to listen on; serfHost and serfPort those of gossip.
	http, rpc string
	serfHost  string
	serfPort  int
	// advertised addresses are host:port.
	advHTTP, advRPC, advSerf string
}

// resolve fills in templates and defaults. What had to be guessed is logged.
func (c *Config) resolve(logger hclog.Logger) (*endpoints, error) {
	var problems []problem
	host := func(key, value, fallback string) string {
		ip, err := singleIP(value)
		if err != nil {
			problems = append(problems, problem{msg: key + ": " + err.Error()})
		}
		if ip == "" {
			return fallback
		}
		return ip
	}
	bind := host("bind_addr", c.BindAddr, "0.0.0.0")
	httpHost := host("addresses.http", c.Addresses.HTTP, bind)
	rpcHost := host("addresses.rpc", c.Addresses.RPC, bind)
	serfHost := host("addresses.serf", c.Addresses.Serf, bind)
	adv := func(key, value, bound string, port int) string {
		addr, err := advertised(value, bound, port, logger.With("address", key))
		if err != nil {
			problems = append(problems, problem{msg: key + ": " + err.Error()})
		}
		return addr
	}
	e := &endpoints{
		http:     net.JoinHostPort(httpHost, strconv.Itoa(c.Ports.HTTP)),
		rpc:      net.JoinHostPort(rpcHost, strconv.Itoa(c.Ports.RPC)),
		serfHost: serfHost,
		serfPort: c.Ports.Serf,
		advHTTP:  adv("advertise.http", c.AdvertiseAddrs.HTTP, httpHost, c.Ports.HTTP),
		advRPC:   adv("advertise.rpc", c.AdvertiseAddrs.RPC, rpcHost, c.Ports.RPC),
		advSerf:  adv("advertise.serf", c.AdvertiseAddrs.Serf, serfHost, c.Ports.Serf),
	}
	return e, problemsError(problems)
}

// singleIP resolves a template or host name text to one host, "" for none.
func singleIP(value string) (string, error) {
	if value == "" {
		return "", nil
	}
	out, err := template.Parse(value)
	if err != nil {
		return "", fmt.Errorf("%q is no valid address template: %w", value, err)
	}
	switch fields := strings.Fields(out); len(fields) {
	case 0:
		return "", fmt.Errorf("%q yields no address on this machine", value)
	case 1:
		return strings.Trim(fields[0], "[]"), nil
	default:
		return "", fmt.Errorf("%q yields several addresses (%s), exactly one is needed", value, out)
	}
}

// advertised returns what to tell others: the value given, or an address of
// this machine that they may reach.
func advertised(value, bound string, port int, logger hclog.Logger) (string, error) {
	if value == "" {
		return net.JoinHostPort(reachable(bound, logger), strconv.Itoa(port)), nil
	}
	// a value may have a port of its own
	host, portText, err := net.SplitHostPort(value)
	if err != nil || strings.Contains(value, "{{") {
		if host, err = singleIP(value); err != nil {
			return "", err
		}
		if h, p, err := net.SplitHostPort(host); err == nil {
			host, portText = h, p
		} else {
			portText = strconv.Itoa(port)
		}
	}
	if n, err := strconv.ParseUint(portText, 10, 16); err != nil || n == 0 && port != 0 {
		return "", fmt.Errorf("%q has no valid port", value)
	}
	if host == "" {
		return "", fmt.Errorf("%q has no host", value)
	}
	return net.JoinHostPort(host, portText), nil
}

// reachable returns bound, or an address of this machine when bound means all
// of them. Without a private or public address the loopback has to do.
func reachable(bound string, logger hclog.Logger) string {
	ip := net.ParseIP(bound)
	if ip == nil || !ip.IsUnspecified() {
		return bound
	}
	family := "IPv4" // a listener on 0.0.0.0 has no IPv6
	if ip.To4() == nil {
		family = "IP"
	}
	for _, scope := range []string{"GetPrivateInterfaces", "GetPublicInterfaces"} {
		out, err := template.Parse(fmt.Sprintf(`{{ %s | include "type" %q | limit 1 | attr "address" }}`, scope, family))
		if err == nil && out != "" {
			return out
		}
	}
	logger.Warn("no private or public address found, advertising the loopback: set advertise for a cluster of several machines")
	return "127.0.0.1"
}

// listen opens a TCP listener. An address that this machine does not have is
// replaced by the loopback if nobody asked for it.
//
// Multipath TCP, which Go listens for by default, is left out: no client of ours speaks
// it, and its sockets take no filter (see port).
func listen(addr string, asked bool, logger hclog.Logger) (net.Listener, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(context.Background(), "tcp", addr)
	if err == nil {
		return ln, nil
	}
	unusable := errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)
	if unusable && !asked {
		_, port, _ := net.SplitHostPort(addr)
		fallback := net.JoinHostPort("127.0.0.1", port)
		logger.Warn("default address is unusable, listening on the loopback", "address", addr, "error", err, "fallback", fallback)
		if ln, err = lc.Listen(context.Background(), "tcp", fallback); err == nil {
			return ln, nil
		}
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is in use, perhaps by another agent: stop it or change ports: %w", addr, err)
	}
	return nil, err
}

// withPort returns addr with the port of ln if addr left the choice to the system.
func withPort(addr string, ln net.Listener) string {
	host, port, err := net.SplitHostPort(addr)
	tcp, ok := ln.Addr().(*net.TCPAddr)
	if err != nil || port != "0" || !ok {
		return addr
	}
	return net.JoinHostPort(host, strconv.Itoa(tcp.Port))
}
