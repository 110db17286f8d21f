package acl

import (
	"strings"
	"unicode/utf8"

	"github.com/cairn-project/cairn/internal/errs"
)

// Bounds of one policy.
const (
	// MaxPolicySize is in bytes of source.
	MaxPolicySize = 1 << 20
	// MaxRules counts blocks and paths.
	MaxRules = 4096
	// maxStars bounds the stars of one pattern.
	maxStars = 16
)

// Parse reads a policy that somebody wants to store, in HCL or JSON. It is
// strict: unknown and repeated keys, unknown words and bad names are refused.
// The error lists every problem with its line and column.
func Parse(src string) (*Policy, error) {
	if err := acceptable(src); err != nil {
		return nil, err
	}
	p, problems := parse(src, true)
	if len(problems) > 0 {
		return nil, problemsError(problems)
	}
	return p, nil
}

// ParseStored reads a policy that was stored already, by any version: what it
// does not know grants nothing. Only a source that has no form fails.
func ParseStored(src string) (*Policy, error) {
	if err := acceptable(src); err != nil {
		return nil, err
	}
	p, problems := parse(src, false)
	if len(problems) > 0 {
		return nil, problemsError(problems)
	}
	return p, nil
}

func acceptable(src string) error {
	if len(src) > MaxPolicySize {
		return errs.Newf(errs.Invalid, "the policy has %d bytes, more than %d: split it", len(src), MaxPolicySize)
	}
	if !utf8.ValidString(src) {
		return errs.New(errs.Invalid, "the policy is not valid UTF-8")
	}
	return nil
}

func parse(src string, strict bool) (*Policy, []problem) {
	asJSON := strings.HasPrefix(strings.TrimLeft(src, " \t\r\n"), "{")
	root, problems := parseTree(src, asJSON)
	if len(problems) > 0 && !strict {
		return nil, problems
	}
	d := &decoder{strict: strict, problems: problems, policy: &Policy{}}
	d.root(root)
	return d.policy, d.problems
}

// problemsError returns one error with an erratum for each problem.
func problemsError(problems []problem) error {
	var texts []string
	var errata []errs.Erratum
	for _, p := range problems {
		texts = append(texts, p.String())
		errata = append(errata, errs.Erratum{Field: "Rules", Msg: p.String()})
	}
	return errs.New(errs.Invalid, "invalid policy: "+strings.Join(texts, "; ")).WithErrata(errata...)
}
