// Command cairnbench measures a Cairn binary, and etcd beside it when asked to.
// Rounds of the systems alternate, every round starts from empty disks, and
// the table shows medians with the conditions they were taken under.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cairn-project/cairn/bench/cluster"
)

// settings are the flags.
type settings struct {
	binary      string
	peers       bool
	etcdConns   int
	rounds      int
	duration    time.Duration
	warmup      time.Duration
	settle      time.Duration
	only        []string
	variables   int
	heapVars    int
	archiveVars int
	watchers    int
	failovers   int
	dir         string
	jsonFile    string
}

// groups are the parts of a run, in their order.
var groups = []string{"throughput", "watchers", "memory", "restart", "failover", "archive"}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "cairnbench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (*settings, error) {
	s := &settings{}
	var only string
	fs := flag.NewFlagSet("cairnbench", flag.ContinueOnError)
	fs.StringVar(&s.binary, "cairn", "bin/cairn", "binary to measure, empty for none")
	fs.BoolVar(&s.peers, "peers", false, "measure etcd too")
	fs.IntVar(&s.etcdConns, "etcd-conns", 4, "connections that the clients of one etcd server share")
	fs.IntVar(&s.rounds, "rounds", 3, "rounds of the throughput and watcher parts")
	fs.DurationVar(&s.duration, "duration", 5*time.Second, "length of one throughput measurement")
	fs.DurationVar(&s.warmup, "warmup", time.Second, "uncounted time before each measurement")
	fs.DurationVar(&s.settle, "settle", 2*time.Second, "rest before a measurement that follows a change, such as many new queries")
	fs.StringVar(&only, "only", strings.Join(groups, ","), "comma-separated parts to run")
	fs.IntVar(&s.variables, "variables", 200_000, "variables in the snapshot of the restart part")
	fs.IntVar(&s.heapVars, "heap-variables", 100_000, "variables of the memory part")
	fs.IntVar(&s.archiveVars, "archive-variables", 200_000, "variables of the archive part")
	fs.IntVar(&s.watchers, "watchers", 10_000, "blocking queries of the watcher part")
	fs.IntVar(&s.failovers, "failovers", 5, "leaders to kill")
	fs.StringVar(&s.dir, "dir", "", "where data directories go, empty for the system's temporary directory")
	fs.StringVar(&s.jsonFile, "json", "", "also write the results to this file as JSON, - for standard output")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	s.only = strings.Split(only, ",")
	for _, g := range s.only {
		if !slices.Contains(groups, g) {
			return nil, fmt.Errorf("unknown part %q: choose from %s", g, strings.Join(groups, ", "))
		}
	}
	return s, nil
}

// systems returns what is to be measured, ours first.
func (s *settings) systems() ([]cluster.System, error) {
	var out []cluster.System
	if s.binary != "" {
		path, err := filepath.Abs(s.binary)
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("build the binary first: %w", err)
		}
		out = append(out, cluster.Cairn(path))
	}
	if s.peers {
		path, err := exec.LookPath("etcd")
		if err != nil {
			return nil, fmt.Errorf("etcd is not installed, run bench/install-peers.sh: %w", err)
		}
		out = append(out, &cluster.Etcd{Binary: path, Conns: s.etcdConns})
	}
	if len(out) == 0 {
		return nil, errors.New("nothing to measure: give -cairn or -peers")
	}
	return out, nil
}

func run(ctx context.Context, args []string) error {
	s, err := parse(args)
	if err != nil {
		return err
	}
	systems, err := s.systems()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(s.dir, "cairnbench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	conditions, err := observe(dir, systems)
	if err != nil {
		return err
	}
	b := &bench{settings: s, opts: cluster.Options{Dir: dir}, log: os.Stderr, results: newResults()}
	runErr := b.all(ctx, systems)
	rep := b.results.report(conditions)
	rep.print(os.Stdout)
	return errors.Join(runErr, rep.save(s.jsonFile))
}
