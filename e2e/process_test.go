package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// hang is how long anything may take that is expected to end. It finds what
// hangs; it measures nothing.
const hang = 60 * time.Second

// output collects what a process prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write appends to the output.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// String returns all that was printed so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// process is one run of the binary.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  *output
	done chan struct{} // closed when the process has ended
}

// spawn starts the binary in dir and ends it with the test.
func spawn(t *testing.T, dir string, out *output, args ...string) *process {
	t.Helper()
	return spawnEnv(t, dir, out, nil, args...)
}

// spawnEnv is spawn with more variables in the environment.
func spawnEnv(t *testing.T, dir string, out *output, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(binary, args...), out: out, done: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Env = append(append(cleanEnv(), "HOME="+dir, "TMPDIR="+filepath.Dir(binary)), env...) // what a killed one leaves goes with the binary
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.run()
	return p
}

// run starts the process and ends it with the test.
func (p *process) run() {
	p.t.Helper()
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		p.cmd.Wait() // the state is read from ProcessState
		close(p.done)
	}()
	p.t.Cleanup(func() {
		p.signal(syscall.SIGKILL)
		<-p.done
	})
}

// cleanEnv returns the environment without the settings of anybody's CLI.
func cleanEnv() []string {
	var out []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "CAIRN_") && !strings.HasPrefix(kv, "NOMAD_") {
			out = append(out, kv)
		}
	}
	return out
}

func (p *process) signal(s os.Signal) {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("signal %v: %v", s, err)
	}
}

// wait returns the exit code of a process that is expected to end by itself.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(hang):
		p.t.Fatalf("the process does not end:\n%s", tail(p.out.String()))
		return -1
	}
}

// ended reports whether the process has ended.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// peakMemory returns the largest resident set so far, in bytes.
func (p *process) peakMemory() int64 {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		p.t.Fatal("no VmHWM in /proc")
	}
	kb, _ := strconv.ParseInt(string(m[1]), 10, 64)
	return kb << 10
}

// cairn runs one command to its end and returns what it printed and its exit code.
func cairn(t *testing.T, dir string, args ...string) (string, int) {
	t.Helper()
	out := &output{}
	p := spawn(t, dir, out, args...)
	code := p.wait()
	return out.String(), code
}

// tail returns the last lines of a log.
func tail(log string) string {
	lines := strings.Split(strings.TrimRight(log, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}

var crash = regexp.MustCompile(`(?m)^(panic: |fatal error: |goroutine \d+ \[|WARNING: DATA RACE)`)

// noPanic fails when the output shows a crash.
func noPanic(t *testing.T, log string) {
	t.Helper()
	if at := crash.FindStringIndex(log); at != nil {
		t.Errorf("the process crashed:\n%s", log[at[0]:min(len(log), at[0]+4000)])
	}
}

// eventually tries until ok says true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(hang); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("%s: still not so after %v", what, hang)
}

const (
	// measures is how often within measures before it believes that something is slow.
	measures = 5
	// busyShare is which part of a limit the test itself may be woken late before a
	// measurement says more of the machine than of the servers, unless that took
	// hangShare limits.
	busyShare, hangShare = 4, 10
)

// within fails when something takes longer than it may in each of several
// measurements. Those in which this process was woken late do not count: others
// keep the machine busy.
func within(t *testing.T, what string, limit time.Duration, measure func() time.Duration) {
	t.Helper()
	slow := 0
	for range measures {
		end := lateness()
		took := measure()
		late := end()
		t.Logf("%s: %v (woken up to %v late)", what, took.Round(10*time.Microsecond), late.Round(10*time.Microsecond))
		switch {
		case t.Failed() || took <= limit:
			return
		case late < limit/busyShare || took > hangShare*limit:
			slow++
		}
	}
	if slow > measures/2 {
		t.Errorf("%s: more than %v each time", what, limit)
	}
}

// lateness watches how late at most this process is woken, until end is called.
func lateness() (end func() time.Duration) {
	stop, most := make(chan struct{}), make(chan time.Duration)
	go func() {
		late := time.Duration(0)
		for {
			before := time.Now()
			select {
			case <-time.After(time.Millisecond):
				late = max(late, time.Since(before)-time.Millisecond)
			case <-stop:
				most <- late
				return
			}
		}
	}()
	return func() time.Duration {
		close(stop)
		return <-most
	}
}

// ports is how many ports freePort walks through.
const ports = 12000

// firstPort is the first of them. The kernel gives none of them to clients, if its range
// leaves room: a client would keep a server from coming back.
var firstPort = portsBeside("/proc/sys/net/ipv4/ip_local_port_range")

func portsBeside(file string) int {
	low, high := 32768, 60999
	if text, err := os.ReadFile(file); err == nil {
		_, _ = fmt.Sscan(string(text), &low, &high)
	}
	switch usual := 20000; {
	case low < usual+ports && low > 2000+ports:
		return low - ports
	case low < usual+ports && high+ports < 1<<16:
		return high + 1
	default:
		return usual
	}
}

// nextPort walks through the ports.
var nextPort = func() *atomic.Int64 {
	n := &atomic.Int64{}
	n.Store(int64(os.Getpid()) * 31)
	return n
}()

// freePort returns a port of loopback that is free for TCP and UDP. While a server
// is down nothing listens there, so a name in the kernel keeps the port from other
// runs of these tests until this test ends.
func freePort(t *testing.T) int {
	t.Helper()
	for range 2000 {
		port := firstPort + int(nextPort.Add(1)%ports)
		claim, err := net.Listen("unix", fmt.Sprintf("@cairn-e2e-port-%d", port))
		if err != nil {
			continue
		}
		if unused(port) {
			t.Cleanup(func() { claim.Close() })
			return port
		}
		claim.Close()
	}
	t.Fatal("no free port")
	return 0
}

// unused reports whether nothing on loopback has the port.
func unused(port int) bool {
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", addr)
	if err != nil {
		return false
	}
	udp.Close()
	return true
}

// write puts a file into dir and returns its path.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
