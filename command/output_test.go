package command

import (
	"bytes"
	"encoding/pem"
	"strings"
	"testing"
)

func pemOf(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func testSession() (*session, *bytes.Buffer) {
	var out bytes.Buffer
	opts := &Options{Stdout: &out, Stderr: &out, Getenv: func(string) string { return "" }}
	return newSession(opts), &out
}

func TestTableAlignsAndKeepsTheTerminalSafe(t *testing.T) {
	s, out := testSession()
	tab := newTable("Name", "Value")
	tab.add("é", "1")
	tab.add("long name", "a\nb\x1b[2J")
	s.print(tab, "nothing")
	want := "Name       Value\né          1\nlong name  a\\nb\\x1b[2J\n"
	if out.String() != want {
		t.Errorf("got\n%q want\n%q", out.String(), want)
	}
	out.Reset()
	s.print(newTable("Name"), "nothing here")
	if out.String() != "nothing here\n" {
		t.Errorf("empty table printed %q", out.String())
	}
}

func TestColorOnlyWhereWanted(t *testing.T) {
	for _, tc := range []struct {
		env, flag string
		want      bool
	}{
		{"", "-no-color", false}, {"", "-force-color", true}, {"CAIRN_CLI_FORCE_COLOR", "", true},
		{"NOMAD_CLI_FORCE_COLOR", "", true}, {"NO_COLOR", "-force-color", false}, {"", "", false},
	} {
		f := newFakeAgent(t, map[string]reply{"GET /v1/vars": {body: []map[string]any{{"Path": "a"}}}})
		args := []string{"var", "list"}
		if tc.flag != "" {
			args = append(args, tc.flag)
		}
		r := invocation{env: map[string]string{"CAIRN_ADDR": f.URL, tc.env: "1"}}.run(args...)
		if got := strings.Contains(r.stdout, "\x1b["); got != tc.want || r.code != 0 {
			t.Errorf("env %q flag %q: color %v, code %d", tc.env, tc.flag, got, r.code)
		}
	}
}

func TestTemplates(t *testing.T) {
	f := newFakeAgent(t, map[string]reply{"GET /v1/namespaces": {body: []map[string]any{{"Name": "b"}, {"Name": "a<&>"}}}})
	f.run("namespace", "list", "-t", "{{range .}}{{.Name}} {{end}}").expect(t, 0, []string{"a<&> b \n"}, nil)
	f.run("namespace", "list", "-t", "{{json (index . 1).Name}}").expect(t, 0, []string{"\"b\"\n"}, nil)
	f.run("namespace", "list", "-json").expect(t, 0, []string{`"Name": "a<&>"`}, nil)
	f.run("namespace", "list", "-t", "{{").expect(t, 1, nil, []string{"bad template", "text/template"})
	f.run("namespace", "list", "-t", "{{.Nope}}").expect(t, 1, nil, []string{"template failed", "-json shows"})
}
