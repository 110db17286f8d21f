package agentpb

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

var (
	protoComment = regexp.MustCompile(`//.*`)
	protoBlock   = regexp.MustCompile(`message (\w+) \{([^}]*)\}`)
	protoField   = regexp.MustCompile(`(repeated )?(\w+) (\w+) = (\d+);`)
)

// TestGeneratedCodeIsCurrent compares each .proto file with the descriptor in the
// code made from it. After a change run go generate ./drpc/agentpb.
func TestGeneratedCodeIsCurrent(t *testing.T) {
	files, err := filepath.Glob("*.proto")
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file, err := protoregistry.GlobalFiles.FindFileByPath("drpc/agentpb/" + name)
		if err != nil {
			t.Errorf("%s: %v, run go generate ./drpc/agentpb", name, err)
			continue
		}
		if diff := cmp.Diff(written(string(text)), generated(file)); diff != "" {
			t.Errorf("%s (-) and its generated code (+) differ, run go generate ./drpc/agentpb:\n%s", name, diff)
		}
	}
}

// written returns a line for each message and field of a file's text.
func written(src string) []string {
	var out []string
	for _, block := range protoBlock.FindAllStringSubmatch(protoComment.ReplaceAllString(src, ""), -1) {
		out = append(out, block[1])
		for _, f := range protoField.FindAllStringSubmatch(block[2], -1) {
			out = append(out, fmt.Sprintf("%s.%s = %s, %s%s", block[1], f[3], f[4], f[1], f[2]))
		}
	}
	slices.Sort(out)
	return out
}

// generated returns the same of a descriptor.
func generated(file protoreflect.FileDescriptor) []string {
	var out []string
	for i := range file.Messages().Len() {
		m := file.Messages().Get(i)
		out = append(out, string(m.Name()))
		for j := range m.Fields().Len() {
			f := m.Fields().Get(j)
			kind := f.Kind().String()
			if f.Kind() == protoreflect.MessageKind {
				kind = string(f.Message().Name())
			}
			if f.IsList() {
				kind = "repeated " + kind
			}
			out = append(out, fmt.Sprintf("%s.%s = %d, %s", m.Name(), f.Name(), f.Number(), kind))
		}
	}
	slices.Sort(out)
	return out
}

// TestCheckNotices: the check above is only worth something if it can fail.
func TestCheckNotices(t *testing.T) {
	src := "message M { int32 a = 1; // no\n repeated N b = 2; } message N {}"
	want := []string{"M", "M.a = 1, int32", "M.b = 2, repeated N", "N"}
	if diff := cmp.Diff(want, written(src)); diff != "" {
		t.Error(diff)
	}
}
