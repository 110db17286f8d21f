package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	_ "github.com/cairn-project/cairn/internal/testenv"
)

// version is what the binary under test was told to be.
const version = "0.1.0-e2e"

// binary is the path of the binary under test.
var binary string

func TestMain(m *testing.M) {
	if dir := os.Getenv(workloadEnv); dir != "" {
		os.Exit(runWorkload(dir))
	}
	if dir := os.Getenv(providerEnv); dir != "" {
		os.Exit(runProvider(dir))
	}
	flag.Parse()
	if testing.Short() {
		fmt.Println("e2e: nothing runs with -short")
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "cairn-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "cairn")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", binary, // git may not trust who owns the clone
		"-ldflags", "-X github.com/cairn-project/cairn/nomad.Version="+version, "../cmd/server")
	build.Stdout, build.Stderr = os.Stdout, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build the binary under test:", err)
		return 1
	}
	return m.Run()
}
