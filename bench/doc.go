// Package bench measures whole agents. cmd/cairnbench starts clusters of
// processes and compares them with others; the Go benchmark here drives one agent
// within the process and feeds the compiler's profile.
package bench
