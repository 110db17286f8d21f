package proxyproto

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
)

// v2 is a header of version 2.
func v2(verCmd, family byte, body string) string {
	return signature + string([]byte{verCmd, family, byte(len(body) >> 8), byte(len(body))}) + body
}

const (
	ends4 = "\x0a\x01\x02\x03\x0a\x09\x09\x09\x30\x39\x12\x26"
	ends6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02" + "\x30\x39\x12\x26"
)

var good = map[string]string{
	"PROXY TCP4 10.1.2.3 10.9.9.9 12345 4646\r\n":               "10.1.2.3:12345",
	"PROXY TCP6 2001:db8::1 2001:db8::2 12345 4646\r\n":         "[2001:db8::1]:12345",
	"PROXY TCP6 ::ffff:10.1.2.3 ::ffff:10.9.9.9 12345 4646\r\n": "10.1.2.3:12345",
	"PROXY UNKNOWN\r\n": "",
	"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n": "",
	v2(0x21, tcp4, ends4):                                      "10.1.2.3:12345",
	v2(0x21, tcp6, ends6):                                      "[2001:db8::1]:12345",
	v2(0x21, tcp4, ends4+"\x03\x00\x04\x00\x00\x00\x00"):       "10.1.2.3:12345",
	v2(0x21, tcp6, ends6+strings.Repeat("\x04\x00\x01x", 200)): "[2001:db8::1]:12345",
	v2(0x20, 0, ""):                                            "", // LOCAL
	v2(0x20, tcp4, ends4):                                      "",
	v2(0x21, 0x31, strings.Repeat("/", 216)):                   "", // a Unix socket
	v2(0x21, 0, "x"):                                           "",
	v2(0x21, 0x12, ends4):                                      "", // UDP
}

var bad = []string{
	"", "P", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00",
	"PROXY \r\n         ", "PROXY TCP4\r\n  ", "PROXY TCP4 10.1.2.3 10.9.9.9 12345\r\n", "PROXY TCP4 10.1.2.3 10.9.9.9 12345 4646\n",
	"PROXY TCP4 10.1.2.3 10.9.9.9 99999 4646\r\n", "PROXY TCP4 10.1.2.3 10.9.9.9 1 x\r\n", "PROXY TCP4 ::1 ::1 1 2\r\n", "PROXY TCP6 10.1.2.3 10.9.9.9 1 2\r\n",
	"PROXY TCP4 10.1.2.300 10.9.9.9 1 2\r\n", "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", "PROXY TCP4 10.1.2.3 10.9.9.9 1 2 3\r\n", "PROXY UDP4 10.1.2.3 10.9.9.9 1 2\r\n",
	"PROXY " + strings.Repeat("x", 200) + "\r\n", "PROXY TCP4 10.1.2.3",
	signature, signature + "\x21\x11\x00", v2(0x21, tcp4, ends4)[:20], v2(0x11, tcp4, ends4), v2(0x22, tcp4, ends4), v2(0x21, tcp4, ends4[:11]), v2(0x21, tcp6, ends4),
	signature + "\x21\x11\xff\xff",
}

func TestRead(t *testing.T) {
	for header, want := range good {
		in := strings.NewReader(header + "the rest")
		got, err := Read(iotest.OneByteReader(in))
		if err != nil {
			t.Errorf("%q: %v", header, err)
			continue
		}
		if want == "" && got != (netip.AddrPort{}) || want != "" && got.String() != want {
			t.Errorf("%q is from %v, want %q", header, got, want)
		}
		if rest, _ := io.ReadAll(in); string(rest) != "the rest" {
			t.Errorf("%q: %q is left", header, rest)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	for _, header := range bad {
		if got, err := Read(strings.NewReader(header)); !errors.Is(err, ErrHeader) {
			t.Errorf("%q gives %v and %v", header, got, err)
		}
	}
	broken := errors.New("broken")
	if _, err := Read(io.MultiReader(strings.NewReader("PROXY TCP4 1"), iotest.ErrReader(broken))); !errors.Is(err, broken) || errors.Is(err, ErrHeader) {
		t.Errorf("a connection that breaks gives %v", err)
	}
}

// Whatever comes, Read takes a bounded part of it and gives an address or none.
func FuzzRead(f *testing.F) {
	for header := range good {
		f.Add([]byte(header))
	}
	for _, header := range bad {
		f.Add([]byte(header))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.NewReader(b)
		got, err := Read(in)
		if took := len(b) - in.Len(); took > len(signature)+4+maxBody {
			t.Errorf("took %d bytes", took)
		}
		if err != nil && got != (netip.AddrPort{}) {
			t.Errorf("%v beside %v", got, err)
		}
		if got.IsValid() && got.Addr().Zone() != "" {
			t.Errorf("an address with a zone: %v", got)
		}
		again, err2 := Read(iotest.OneByteReader(bytes.NewReader(b)))
		if again != got || (err == nil) != (err2 == nil) {
			t.Errorf("in pieces %v and %v, at once %v and %v", again, err2, got, err)
		}
	})
}
