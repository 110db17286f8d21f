package agent

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
)

func TestConnectionsThatAreCompleteAreServedWhenThePortStops(t *testing.T) {
	for _, accepting := range []bool{true, false} {
		tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		ln := gentle(tcp).(*port)
		serve := func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					if !errors.Is(err, net.ErrClosed) {
						t.Errorf("accept ended with %v", err)
					}
					return
				}
				if _, err := io.CopyN(c, c, 1); err != nil {
					t.Error(err)
				}
				_ = c.Close()
			}
		}
		ended := make(chan struct{})
		if accepting {
			go func() { serve(); close(ended) }()
		}
		var clients []net.Conn
		for range 5 {
			c, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(c, "x"); err != nil {
				t.Fatal(err)
			}
			clients = append(clients, c)
		}
		if !accepting { // the system alone has them
			go func() { serve(); close(ended) }()
		}
		ln.stop()
		if _, err := net.Dial("tcp", ln.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a new connection: %v", err)
		}
		for _, c := range clients {
			if b, err := io.ReadAll(c); string(b) != "x" || err != nil {
				t.Errorf("accepting %t: a connection got %q, %v", accepting, b, err)
			}
			_ = c.Close()
		}
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
		<-ended
	}
}
