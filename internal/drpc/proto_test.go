package drpc

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/reflect/protoreflect"
)

var (
	protoComment = regexp.MustCompile(`//.*`)
	protoBlock   = regexp.MustCompile(`(message|enum) (\w+) \{([^}]*)\}`)
	protoField   = regexp.MustCompile(`(repeated )?(\w+) (\w+) = (-?\d+);`)
	protoValue   = regexp.MustCompile(`(\w+) = (-?\d+);`)
)

// TestGeneratedCodeIsCurrent compares drpc.proto with the descriptor that is
// embedded in drpc.pb.go, so that it needs no compiler. After a change run
// go generate ./internal/drpc.
func TestGeneratedCodeIsCurrent(t *testing.T) {
	b, err := os.ReadFile("drpc.proto")
	if err != nil {
		t.Fatal(err)
	}
	written := protoLines(protoComment.ReplaceAllString(string(b), ""))
	if len(written) < 30 {
		t.Fatalf("read only %d lines from drpc.proto", len(written))
	}
	if diff := cmp.Diff(written, descriptorLines(File_internal_drpc_drpc_proto)); diff != "" {
		t.Errorf("drpc.proto (-) and drpc.pb.go (+) differ, run go generate ./internal/drpc:\n%s", diff)
	}
}

// protoLines returns one line for each field and value of the file's text.
func protoLines(src string) []string {
	pkg := regexp.MustCompile(`package ([\w.]+);`).FindStringSubmatch(src)[1]
	out := []string{"package " + pkg}
	for _, block := range protoBlock.FindAllStringSubmatch(src, -1) {
		kind, name, body := block[1], block[2], block[3]
		if kind == "enum" {
			for _, v := range protoValue.FindAllStringSubmatch(body, -1) {
				out = append(out, fmt.Sprintf("%s.%s = %s", name, v[1], v[2]))
			}
			continue
		}
		for _, f := range protoField.FindAllStringSubmatch(body, -1) {
			out = append(out, fmt.Sprintf("%s.%s = %s, %s%s", name, f[3], f[4], f[1], f[2]))
		}
	}
	slices.Sort(out)
	return out
}

// descriptorLines returns the same of what was generated.
func descriptorLines(file protoreflect.FileDescriptor) []string {
	out := []string{"package " + string(file.Package())}
	for i := range file.Enums().Len() {
		enum := file.Enums().Get(i)
		for j := range enum.Values().Len() {
			v := enum.Values().Get(j)
			out = append(out, fmt.Sprintf("%s.%s = %d", enum.Name(), v.Name(), v.Number()))
		}
	}
	for i := range file.Messages().Len() {
		msg := file.Messages().Get(i)
		for j := range msg.Fields().Len() {
			out = append(out, fmt.Sprintf("%s.%s", msg.Name(), fieldLine(msg.Fields().Get(j))))
		}
	}
	slices.Sort(out)
	return out
}

func fieldLine(f protoreflect.FieldDescriptor) string {
	kind := f.Kind().String()
	switch f.Kind() {
	case protoreflect.EnumKind:
		kind = string(f.Enum().Name())
	case protoreflect.MessageKind:
		kind = string(f.Message().Name())
	}
	if f.Cardinality() == protoreflect.Repeated {
		kind = "repeated " + kind
	}
	return fmt.Sprintf("%s = %d, %s", f.Name(), f.Number(), kind)
}

// TestProtoCheckNotices: the check above is only worth something if it can fail.
func TestProtoCheckNotices(t *testing.T) {
	src := "package p;\nmessage M { int32 a = 1; repeated E b = 2; }\nenum E { X = 0; }"
	want := []string{"E.X = 0", "M.a = 1, int32", "M.b = 2, repeated E", "package p"}
	if diff := cmp.Diff(want, protoLines(src)); diff != "" {
		t.Error(diff)
	}
	changed := strings.ReplaceAll(src, "b = 2", "b = 3")
	if cmp.Diff(want, protoLines(changed)) == "" {
		t.Error("a new number was not noticed")
	}
}

// TestNumbersAreFrozen: fields and statuses that are in use never change.
func TestNumbersAreFrozen(t *testing.T) {
	have := descriptorLines(File_internal_drpc_drpc_proto)
	for _, line := range []string{
		"Call.module = 1, int32", "Call.method = 2, int32", "Call.sequence = 3, int64", "Call.body = 4, bytes",
		"Call.timeout_ms = 5, int64", "Call.trace = 6, bytes",
		"Response.sequence = 1, int64", "Response.status = 2, Status", "Response.body = 3, bytes",
		"Response.text = 4, string", "Response.errata = 5, repeated Erratum", "Response.code = 6, string",
		"Response.retry_after_ms = 7, int64", "Response.executed = 8, string", "Response.operation = 9, string",
		"Status.SUCCESS = 0", "Status.SUBMITTED = 1", "Status.FAILURE = 2", "Status.UNKNOWN_MODULE = 3", "Status.UNKNOWN_METHOD = 4",
		"Status.FAILED_UNMARSHAL_CALL = 5", "Status.FAILED_UNMARSHAL_PAYLOAD = 6", "Status.FAILED_MARSHAL = 7",
		"Status.PERMISSION_DENIED = 8", "Status.DEADLINE_EXCEEDED = 9", "Status.UNAVAILABLE = 10", "Status.TOO_LARGE = 11",
	} {
		if !slices.Contains(have, line) {
			t.Errorf("missing: %s", line)
		}
	}
}
