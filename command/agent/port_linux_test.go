package agent

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"
)

func TestConnectionsThatAreCompleteAreServedWhenThePortStops(t *testing.T) {
	for _, accepting := range []bool{true, false} {
		tcp, err := listen("127.0.0.1:0", true, hclog.NewNullLogger())
		if err != nil {
			t.Fatal(err)
		}
		ln := gentle(tcp).(*port)
		ended := make(chan struct{})
		if accepting {
			go func() { echo(t, ln); close(ended) }()
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
			go func() { echo(t, ln); close(ended) }()
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

// While a listener ends its clients connect without a pause. Each connection is
// served or refused; none is reset.
func TestNoConnectionIsResetWhenThePortStops(t *testing.T) {
	for round := range 10 {
		t.Run(strconv.Itoa(round), func(t *testing.T) {
			t.Parallel()
			stopUnderLoad(t)
		})
	}
}

func stopUnderLoad(t *testing.T) {
	tcp, err := listen("127.0.0.1:0", true, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	ln := gentle(tcp).(*port)
	var serving, dialing sync.WaitGroup
	serving.Go(func() { echo(t, ln) })
	begun := make(chan struct{}, 800)
	for range 8 {
		dialing.Go(func() {
			for {
				c, err := net.Dial("tcp", ln.Addr().String())
				if errors.Is(err, syscall.ECONNREFUSED) {
					return
				}
				if err == nil {
					err = exchange(c)
				}
				if err != nil {
					t.Error(err)
					return
				}
				select {
				case begun <- struct{}{}:
				default:
				}
			}
		})
	}
	for range 100 {
		<-begun
	}
	ln.stop()
	dialing.Wait()
	if err := ln.Close(); err != nil {
		t.Error(err)
	}
	serving.Wait()
}

// echo answers each connection's first byte with the same.
func echo(t *testing.T, ln net.Listener) {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		c, err := ln.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("accept ended with %v", err)
			}
			return
		}
		all.Go(func() {
			if _, err := io.CopyN(c, c, 1); err != nil {
				t.Error(err)
			}
			_ = c.Close()
		})
	}
}

// exchange sends a byte and wants it back.
func exchange(c net.Conn) error {
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, "x"); err != nil {
		return err
	}
	b, err := io.ReadAll(c)
	if err == nil && string(b) != "x" {
		err = fmt.Errorf("the answer is %q", b)
	}
	return err
}
