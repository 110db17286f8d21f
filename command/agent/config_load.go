package agent

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// maxConfigFile bounds a configuration file, in bytes.
const maxConfigFile = 16 << 20

// loadConfig reads files and directories in order into c: what comes later
// wins. It returns the keys that were given and have no effect.
func loadConfig(c *Config, paths []string) (unused []problem, err error) {
	d := &configDecoder{}
	for _, p := range paths {
		files, err := configFiles(p)
		if err != nil {
			d.fail(position{}, "%s", err)
			continue
		}
		for _, f := range files {
			d.file(c, f)
		}
	}
	return d.unused, problemsError(d.problems)
}

// file moves one file into c.
func (d *configDecoder) file(c *Config, name string) {
	src, err := readConfigFile(name)
	if err != nil {
		d.fail(position{}, "%s", err)
		return
	}
	d.source(c, name, src)
}

// source moves the text of a file into c.
func (d *configDecoder) source(c *Config, name string, src []byte) {
	root, problems := parseConfig(name, src)
	d.problems = append(d.problems, problems...)
	if root != nil {
		d.block(root, reflect.ValueOf(c).Elem(), "")
	}
}

func readConfigFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxConfigFile {
		return nil, errors.New(name + ": larger than 16 MiB, this is no configuration file")
	}
	return os.ReadFile(name)
}

// configFiles returns path itself, or the .hcl and .json files of the directory
// in alphabetical order.
func configFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		if e.IsDir() || ext != ".hcl" && ext != ".json" || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		out = append(out, filepath.Join(path, e.Name()))
	}
	slices.Sort(out)
	return out, nil
}

// splitComma splits a list separated by commas and drops empty parts.
func splitComma(s string) []string {
	var out []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}
