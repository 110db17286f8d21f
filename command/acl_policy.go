package command

import (
	"strings"

	"github.com/hashicorp/nomad/api"
)

func newACLPolicyList() action {
	return &aclList[api.ACLPolicyListStub]{
		words: about{
			synopsis: "show all policies", usage: "[options] [prefix]",
			text:     "Lists the policies that the token may see: all for a management token, else those that it holds.",
			examples: [][2]string{{"Show them", "cairn acl policy list"}},
			max:      1, args: policyNames,
		},
		what: "policies", head: []string{"Name", "Description"},
		row: func(p *api.ACLPolicyListStub) []string { return []string{p.Name, orNone(p.Description)} },
		fetch: func(c *api.Client, q *api.QueryOptions) ([]*api.ACLPolicyListStub, error) {
			list, _, err := c.ACLPolicies().List(q)
			return list, err
		},
	}
}

func newACLPolicySelf() action {
	return &aclList[api.ACLPolicyListStub]{
		words: about{
			synopsis: "show policies of current token", usage: "[options]",
			text:     "Lists the policies of the token, or of the workload identity, that the command is run with.",
			examples: [][2]string{{"What may I do?", "cairn acl policy self"}},
		},
		what: "policies", head: []string{"Name", "Job", "Description"},
		row: func(p *api.ACLPolicyListStub) []string {
			return []string{p.Name, orNone(jobText(p.JobACL)), orNone(p.Description)}
		},
		fetch: func(c *api.Client, q *api.QueryOptions) ([]*api.ACLPolicyListStub, error) {
			list, _, err := c.ACLPolicies().Self(q)
			return list, err
		},
	}
}

func newACLPolicyInfo() action {
	return &aclInfo[api.ACLPolicy]{
		words: about{
			synopsis: "show one policy and rules", usage: "[options] <name>",
			text: "Shows a policy with its rules.",
			examples: [][2]string{
				{"Show one", "cairn acl policy info web"},
				{"Only the rules, to edit them", "cairn acl policy info -t '{{.Rules}}' web > web.hcl"},
			},
			args: policyNames,
		},
		what: "policy", fetch: fetchPolicy, print: printPolicy,
	}
}

func newACLPolicyDelete() action {
	return &aclDelete{
		words: about{
			synopsis: "remove a policy", usage: "[options] <name>",
			text:     "Deletes a policy. Tokens and roles that name it keep the name, which grants nothing until a policy of that name is there again.",
			examples: [][2]string{{"Delete one", "cairn acl policy delete web"}},
			args:     policyNames,
		},
		what: "policy",
		find: func(s *session, name string) (string, error) {
			_, err := readACL(s, "policy", name, fetchPolicy)
			return name, err
		},
		del: func(c *api.Client, name string, w *api.WriteOptions) error {
			_, err := c.ACLPolicies().Delete(name, w)
			return err
		},
	}
}

func fetchPolicy(c *api.Client, name string, q *api.QueryOptions) (*api.ACLPolicy, error) {
	p, _, err := c.ACLPolicies().Info(name, q)
	return p, err
}

func printPolicy(s *session, p *api.ACLPolicy) {
	s.pairs(
		[2]string{"Name", p.Name},
		[2]string{"Description", orNone(p.Description)},
		[2]string{"Job", orNone(jobText(p.JobACL))},
		[2]string{"Create Index", index(p.CreateIndex)},
		[2]string{"Modify Index", index(p.ModifyIndex)},
	)
	s.say("")
	s.title("Rules")
	for _, line := range strings.Split(strings.TrimRight(p.Rules, "\n"), "\n") {
		s.say("%s", strings.ReplaceAll(clean(strings.TrimSuffix(line, "\r")), `\t`, "\t"))
	}
}

// jobText names the workloads that a policy is for, "" for none.
func jobText(j *api.JobACL) string {
	if j == nil {
		return ""
	}
	parts := []string{j.Namespace, j.JobID, j.Group, j.Task}
	for len(parts) > 0 && parts[len(parts)-1] == "" {
		parts = parts[:len(parts)-1]
	}
	return strings.Join(parts, "/")
}

// aclPolicyApply creates or replaces a policy.
type aclPolicyApply struct {
	f           *flags
	description string
	job         api.JobACL
}

func (*aclPolicyApply) about() about {
	return about{
		synopsis: "write policy from rules file",
		usage:    "[options] <name> <file> | -",
		text: "Creates a policy or replaces it with the rules in a file, in HCL or JSON; with -, rules come from standard input. The servers refuse rules with mistakes and say where they are." +
			"\n\nWith -job and its like the policy applies to the workloads of a job too, without a token.",
		examples: [][2]string{
			{"Look for mistakes, then write", "cairn acl policy lint web.hcl && cairn acl policy apply -description 'web team' web web.hcl"},
			{"Give a job more rights", "cairn acl policy apply -namespace shop -job api api-secrets api.hcl"},
		},
		min: 2, max: 2,
		groups: withAgent | withData,
		args:   either(policyNames, anyFile),
	}
}

func (c *aclPolicyApply) flags(f *flags) {
	c.f = f
	f.text(&c.description, "description", "text", "What the policy is for, at most 256 characters.")
	f.text(&c.job.Namespace, "namespace", "name", "Namespace of the job, \"default\" by default; goes with -job.", namespaceNames)
	f.text(&c.job.JobID, "job", "id", "Apply the policy to the workloads of this job.")
	f.text(&c.job.Group, "group", "name", "Only to this group of the job.")
	f.text(&c.job.Task, "task", "name", "Only to this task of the group.")
}

func (c *aclPolicyApply) run(s *session, args []string) error {
	job, err := c.workloads()
	if err != nil {
		return err
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	rules, err := s.readFile(args[1])
	if err != nil {
		return err
	}
	p := &api.ACLPolicy{Name: args[0], Description: c.description, Rules: string(rules), JobACL: job}
	if _, err := client.ACLPolicies().Upsert(p, s.write()); err != nil {
		return failed("applying policy "+clean(p.Name), err)
	}
	return s.show(p, func() { s.say("applied policy %s", clean(p.Name)) })
}

// workloads returns whom the options mean, nil for no workloads.
func (c *aclPolicyApply) workloads() (*api.JobACL, error) {
	j := c.job
	switch {
	case j == api.JobACL{}:
		return nil, nil
	case j.JobID == "" && j.Group != "":
		return nil, usagef("-group needs -job")
	case j.Group == "" && j.Task != "":
		return nil, usagef("-task needs -group")
	case j.Namespace == "":
		j.Namespace = "default"
	}
	return &j, nil
}
