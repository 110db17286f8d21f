// Package command is the command line of Cairn. Every command but agent speaks
// only the public HTTP API, so it can do nothing an SDK could not do.
//
// A command is a type that implements action: about says what it is, flags
// declares its own options, run does the work. The flags for the connection,
// the output formats, help, exit codes and completion come from the groups that
// about names, and registry.go lists all commands in one table.
package command
