// Package testenv makes tests the same on every machine. Test files of packages that
// open unix sockets import it for its effect: a directory for temporary files whose
// path is so long that no name of a socket fits behind it is replaced by /tmp.
package testenv

import "os"

// room is how long the path of the directory for temporary files may be. The kernel
// takes 107 bytes (macOS 103) for the path of a socket, and a test's name comes between.
const room = 24

func init() {
	if len(os.TempDir()) > room {
		os.Setenv("TMPDIR", "/tmp")
	}
}
