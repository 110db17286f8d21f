package client

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// cgroupRoot is where control groups are mounted by convention.
const cgroupRoot = "/sys/fs/cgroup"

// lookCgroups tells which control groups the kernel offers.
func lookCgroups() map[string]string {
	out := map[string]string{}
	controllers, err := os.ReadFile(filepath.Join(cgroupRoot, "cgroup.controllers"))
	switch {
	case err == nil:
		out["os.cgroups.version"] = "2"
		out["unique.cgroup.controllers"] = strings.Join(strings.Fields(string(controllers)), ",")
	case exists(filepath.Join(cgroupRoot, "cpu")):
		out["os.cgroups.version"] = "1"
	default:
		return out
	}
	out["unique.cgroup.mountpoint"] = cgroupRoot
	return out
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// linkSpeed returns the speed of a network device in MBit/s, or what is assumed of
// one that does not tell.
func linkSpeed(device string) int {
	text, err := os.ReadFile(filepath.Join("/sys/class/net", filepath.Base(device), "speed"))
	if n, bad := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && bad == nil && n > 0 {
		return n
	}
	return assumedMBits
}
