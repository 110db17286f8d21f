package drpc

import (
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestExampleInC sends the bytes that the C example documents, and where there
// is a C compiler it builds the example, which must send the same ones.
func TestExampleInC(t *testing.T) {
	source := filepath.Join("..", "..", "examples", "drpc", "hello.c")
	b, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	documented := regexp.MustCompile(`(?m)^ \*     (call   |answer )([0-9a-f]+)$`).FindAllStringSubmatch(string(b), -1)
	if len(documented) != 2 {
		t.Fatalf("the example documents %d packets, want a call and its answer", len(documented))
	}
	call, answer := documented[0][2], documented[1][2]
	s := start(t, NewRegistry(), nil)
	l := connect(t, s.path)
	packet, err := hex.DecodeString(call)
	if err != nil {
		t.Fatal(err)
	}
	if _, raw, err := ask(l, Message{Data: packet}); err != nil || hex.EncodeToString(raw) != answer {
		t.Errorf("the documented call is answered %x, %v, want %s", raw, err, answer)
	}

	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Logf("no C compiler here (%v): only the documented bytes were tried", err)
		return
	}
	program := filepath.Join(t.TempDir(), "hello")
	if out, err := exec.Command(cc, "-Wall", "-Wextra", "-Werror", "-o", program, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(program, "-x", s.path, "world").CombinedOutput()
	if want := "call " + call + "\nanswer " + answer + "\nHello from C world\n"; err != nil || string(out) != want {
		t.Errorf("%v\n%s, want\n%s", err, out, want)
	}
	none := &Registry{modules: map[int32]*registered{}}
	other := start(t, none, func(c *Config) { c.MessageTimeout = time.Minute })
	if out, err := exec.Command(program, other.path, "world").CombinedOutput(); err == nil || !strings.Contains(string(out), "status 3: no module 0") {
		t.Errorf("without a module: %v, %s", err, out)
	}
}
