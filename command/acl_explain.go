package command

import (
	"strconv"

	"github.com/cairn-project/cairn/acl"
)

// aclExplain asks the servers why something is allowed.
type aclExplain struct {
	accessor        string
	policies, rules []string
}

// explainQuestion is the body of the request; empty fields are left out.
type explainQuestion struct {
	AccessorID string   `json:",omitempty"`
	Policies   []string `json:",omitempty"`
	Rules      []string `json:",omitempty"`
	acl.Operation
}

func (*aclExplain) about() about {
	return about{
		synopsis: "say why something is allowed or denied",
		usage:    "[options] " + operationUsage,
		text: "Says whether an operation is allowed, by which policy and which line, and which rules would have decided otherwise but match less closely. Asks for the token that the command is run with, unless an option names another or policies." +
			"\n\n" + operationText + " The exit code does not tell the answer: use -t '{{.Allowed}}'.",
		examples: [][2]string{
			{"May I?", "cairn acl explain submit-job namespace shop"},
			{"Why can this token read it?", "cairn acl explain -accessor 59c219c2-47e4-43f3-bb45-258fd13f59d5 read variables shop app/db"},
			{"What would a change of a policy do?", "cairn acl explain -policy base -rules new.hcl write operator"},
		},
		min: 2, max: 4,
		groups: withAgent | withNamespace | withData,
		args:   operationWords,
	}
}

func (c *aclExplain) flags(f *flags) {
	f.text(&c.accessor, "accessor", "id", "Ask for the token with this accessor.", tokenAccessors)
	f.list(&c.policies, "policy", "name", "Ask for this stored policy; may be repeated.")
	f.list(&c.rules, "rules", "file", "Ask for the rules in this file, - for standard input; may be repeated.")
}

func (c *aclExplain) run(s *session, args []string) error {
	op, err := parseOperation(args, s.conn.namespace)
	if err != nil {
		return err
	}
	if c.accessor != "" && len(c.policies)+len(c.rules) > 0 {
		return usagef("-accessor excludes -policy and -rules")
	}
	ask := explainQuestion{AccessorID: c.accessor, Policies: c.policies, Operation: op}
	for _, name := range c.rules {
		src, err := s.readFile(name)
		if err != nil {
			return err
		}
		ask.Rules = append(ask.Rules, string(src))
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	var answer explainAnswer
	if _, err := client.Raw().Write("/v1/acl/explain", ask, &answer, s.write()); err != nil {
		return failed("asking for an explanation", err)
	}
	return s.show(answer, func() { s.printExplanation(&answer) })
}

// explainAnswer is the body of the answer.
type explainAnswer struct {
	acl.Explanation
	// MissingPolicies and MissingRoles are those of the token that do not exist.
	MissingPolicies []string `json:",omitempty"`
	MissingRoles    []string `json:",omitempty"`
}

func (s *session) printExplanation(e *explainAnswer) {
	s.say("%s", clean(e.Reason))
	for _, name := range e.MissingPolicies {
		s.say("the policy %s of the token does not exist and grants nothing", clean(name))
	}
	for _, id := range e.MissingRoles {
		s.say("the role %s of the token does not exist and grants nothing", clean(id))
	}
	s.printRules("Rules that decide", e.Rules)
	s.printRules("Rules that are overruled, as they match less closely", e.Overruled)
}

func (s *session) printRules(title string, rules []acl.RuleRef) {
	if len(rules) == 0 {
		return
	}
	s.say("")
	s.say("%s:", title)
	t := newTable("Policy", "Line", "Rule", "Effect")
	for _, r := range rules {
		t.add(r.Policy, strconv.Itoa(r.Line), r.Rule, r.Effect)
	}
	s.print(t, "none")
}
