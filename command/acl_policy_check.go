package command

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
)

// finding is something wrong, or probably wrong, in a policy.
type finding struct {
	File         string
	Line, Column int `json:",omitempty"`
	// Level is error or warning.
	Level, Text string
}

// aclPolicyLint looks for mistakes in policies, without a cluster.
type aclPolicyLint struct {
	strict bool
}

func (*aclPolicyLint) about() about {
	return about{
		synopsis: "look for mistakes in policy files",
		usage:    "[options] <file>… | -",
		text:     "Checks policies as the servers would, and warns of what is valid and probably not meant, such as a grant that a deny makes void. Needs no agent.",
		examples: [][2]string{{"Before a commit", "cairn acl policy lint -strict policies/*.hcl"}},
		min:      1, max: -1,
		groups: withData,
		args:   anyFile,
	}
}

func (c *aclPolicyLint) flags(f *flags) {
	f.boolean(&c.strict, "strict", "Fail on warnings too.")
}

func (c *aclPolicyLint) run(s *session, args []string) error {
	all, bad := []finding{}, 0
	for _, name := range args {
		src, err := s.readFile(name)
		if err != nil {
			return err
		}
		for _, f := range lintPolicy(name, string(src)) {
			if all = append(all, f); f.Level == "error" || c.strict {
				bad++
			}
		}
	}
	err := s.show(all, func() {
		for _, f := range all {
			s.say("%s", clean(f.String()))
		}
	})
	switch {
	case err != nil:
		return err
	case bad > 0:
		return fmt.Errorf("%s found", counted(bad, "problem", "problems"))
	case !s.json && s.template == "":
		s.say("%s checked, %s", counted(len(args), "policy", "policies"), counted(len(all), "warning", "warnings"))
	}
	return nil
}

// String is the form that editors find the place by.
func (f finding) String() string {
	if f.Line == 0 {
		return fmt.Sprintf("%s: %s: %s", f.File, f.Level, f.Text)
	}
	return fmt.Sprintf("%s:%d:%d: %s: %s", f.File, f.Line, f.Column, f.Level, f.Text)
}

func lintPolicy(name, src string) []finding {
	var out []finding
	p, err := acl.Parse(src)
	if err != nil {
		for _, text := range policyProblems(err) {
			out = append(out, errorAt(name, text))
		}
		return out
	}
	for _, w := range p.Lint() {
		out = append(out, finding{File: name, Line: w.Line, Column: w.Column, Level: "warning", Text: w.Text})
	}
	return out
}

// errorAt takes the place out of the text of a problem.
func errorAt(name, text string) finding {
	f := finding{File: name, Level: "error", Text: text}
	if n, _ := fmt.Sscanf(text, "line %d, column %d:", &f.Line, &f.Column); n == 2 {
		_, f.Text, _ = strings.Cut(text, ": ")
		return f
	}
	f.Line, f.Column = 0, 0
	return f
}

// policyProblems returns every problem that Parse found, with its place.
func policyProblems(err error) []string {
	var e *errs.Error
	if !errors.As(err, &e) || len(e.Errata) == 0 {
		return []string{err.Error()}
	}
	var out []string
	for _, erratum := range e.Errata {
		out = append(out, erratum.Msg)
	}
	return out
}

// verdict is the outcome of one expectation.
type verdict struct {
	// Case is the expectation as it was written.
	Case string
	Pass bool
	acl.Explanation
}

// aclPolicyTest checks what policies grant, without a cluster.
type aclPolicyTest struct {
	expect []string
	file   string
}

func (*aclPolicyTest) about() about {
	return about{
		synopsis: "check what policy files grant",
		usage:    "[options] <file>…",
		text: "Puts policies together as a token that has all of them would, and checks expectations: each is the word allow or deny and an operation. Needs no agent." +
			"\n\n" + operationText +
			"\n\nA file of expectations has one on each line; empty lines and those that begin with # are left out.",
		examples: [][2]string{
			{"One question", "cairn acl policy test -expect 'allow read variables shop app/db' shop.hcl"},
			{"As a test of a repository", "cairn acl policy test -cases shop.cases base.hcl shop.hcl"},
		},
		min: 1, max: -1,
		groups: withData,
		args:   anyFile,
	}
}

func (c *aclPolicyTest) flags(f *flags) {
	f.list(&c.expect, "expect", "expectation", "Expect this, such as 'deny write operator'; may be repeated.")
	f.text(&c.file, "cases", "file", "Expect what is in this file; - for standard input.", anyFile)
}

func (c *aclPolicyTest) run(s *session, args []string) error {
	cases, err := c.cases(s)
	if err != nil {
		return err
	}
	rights, err := s.compile(args)
	if err != nil {
		return err
	}
	all, bad := []verdict{}, 0
	for _, text := range cases {
		v, err := judge(rights, text)
		if err != nil {
			return err
		}
		if all = append(all, v); !v.Pass {
			bad++
		}
	}
	err = s.show(all, func() {
		for _, v := range all {
			mark := "ok   "
			if !v.Pass {
				mark = "FAIL "
			}
			s.say("%s %s: %s", mark, clean(v.Case), clean(v.Reason))
		}
	})
	if err == nil && bad > 0 {
		err = fmt.Errorf("%d of %s failed", bad, counted(len(all), "expectation", "expectations"))
	}
	return err
}

// cases returns the expectations of both options.
func (c *aclPolicyTest) cases(s *session) ([]string, error) {
	out := c.expect
	if c.file != "" {
		src, err := s.readFile(c.file)
		if err != nil {
			return nil, err
		}
		for _, line := range strings.Split(string(src), "\n") {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				out = append(out, line)
			}
		}
	}
	if len(out) == 0 {
		return nil, usagef("nothing is expected: give -expect or -cases")
	}
	return out, nil
}

// compile puts policy files together.
func (s *session) compile(files []string) (*acl.ACL, error) {
	var policies []*acl.Policy
	for _, name := range files {
		src, err := s.readFile(name)
		if err != nil {
			return nil, err
		}
		p, err := acl.Parse(string(src))
		if err != nil {
			return nil, fmt.Errorf("%s: %s", name, cleanLines(strings.Join(policyProblems(err), "\n")))
		}
		p.Name = name
		policies = append(policies, p)
	}
	return acl.New(false, policies...)
}

// judge checks one expectation.
func judge(rights *acl.ACL, text string) (verdict, error) {
	words := strings.Fields(text)
	if len(words) == 0 || words[0] != "allow" && words[0] != "deny" {
		return verdict{}, usagef("%q does not begin with allow or deny", text)
	}
	op, err := parseOperation(words[1:], "")
	if err != nil {
		return verdict{}, usagef("%q: %s", text, err)
	}
	e, err := rights.Explain(op)
	if err != nil {
		return verdict{}, usagef("%q: %s", text, err)
	}
	return verdict{Case: text, Pass: e.Allowed == (words[0] == "allow"), Explanation: *e}, nil
}
