// Package e2e drives the built binary: real processes, sockets, signals and
// disks. It holds tests only, and they run neither with -short nor in parallel
// with each other. What can be shown inside one process is tested there.
package e2e
