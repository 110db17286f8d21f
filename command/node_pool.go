package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"
)

func newNodePoolList() action {
	return &aclList[api.NodePool]{
		words: about{
			synopsis: "show all node pools", usage: "[options] [prefix]",
			text:     "Lists the node pools that the token may see.",
			examples: [][2]string{{"Show them", "cairn node pool list"}},
			max:      1, args: nodePoolNames,
		},
		what: "node pools", head: []string{"Name", "Description"},
		row: func(p *api.NodePool) []string { return []string{p.Name, orNone(p.Description)} },
		fetch: func(c *api.Client, q *api.QueryOptions) ([]*api.NodePool, error) {
			list, _, err := c.NodePools().List(q)
			return list, err
		},
		filtered: true,
	}
}

func newNodePoolInfo() action {
	return &aclInfo[api.NodePool]{
		words: about{
			synopsis: "show one node pool", usage: "[options] <name>",
			text:     "Shows the settings of a node pool.",
			examples: [][2]string{{"Show one", "cairn node pool info gpu"}},
			args:     nodePoolNames,
		},
		what: "node pool",
		fetch: func(c *api.Client, name string, q *api.QueryOptions) (*api.NodePool, error) {
			p, _, err := c.NodePools().Info(unescape(name), q)
			return p, err
		},
		print: (*session).printNodePool,
	}
}

func newNodePoolDelete() action {
	return &aclDelete{
		words: about{
			synopsis: "remove an unused node pool", usage: "[options] <name>",
			text:     "Deletes a node pool. One that still has nodes is kept, and the built-in ones always are.",
			examples: [][2]string{{"Delete one", "cairn node pool delete gpu"}},
			args:     nodePoolNames,
		},
		what: "node pool",
		del: func(c *api.Client, name string, w *api.WriteOptions) error {
			_, err := c.NodePools().Delete(unescape(name), w)
			return err
		},
	}
}

func (s *session) printNodePool(p *api.NodePool) {
	kv := [][2]string{{"Name", p.Name}, {"Description", orNone(p.Description)}}
	if p.NodeIdentityTTL > 0 {
		kv = append(kv, [2]string{"Node Identity TTL", p.NodeIdentityTTL.String()})
	}
	if c := p.SchedulerConfiguration; c != nil {
		kv = append(kv, [2]string{"Scheduler Algorithm", orNone(string(c.SchedulerAlgorithm))})
	}
	s.pairs(kv...)
	if len(p.Meta) > 0 {
		s.say("")
		s.title("Metadata")
		s.pairs(sortedPairs(p.Meta)...)
	}
}

// nodePoolNodes lists the nodes of a pool.
type nodePoolNodes struct{ list nodeListOptions }

func (*nodePoolNodes) about() about {
	return about{
		synopsis: "show nodes of a pool",
		usage:    "[options] <name>",
		text:     "Lists the nodes of a node pool. The pool \"all\" has every node.",
		examples: [][2]string{{"Show them", "cairn node pool nodes gpu"}},
		min:      1, max: 1,
		groups: withAgent | withData,
		args:   nodePoolNames,
	}
}

func (c *nodePoolNodes) flags(f *flags) { c.list.flags(f) }

func (c *nodePoolNodes) run(s *session, args []string) error {
	return c.list.run(s, "nodes of the node pool "+clean(args[0]), func(client *api.Client, q *api.QueryOptions) ([]*api.NodeListStub, *api.QueryMeta, error) {
		return client.NodePools().ListNodes(args[0], q)
	})
}

// nodePoolJobs lists the jobs of a pool.
type nodePoolJobs struct{ filter string }

func (*nodePoolJobs) about() about {
	return about{
		synopsis: "show jobs of a pool",
		usage:    "[options] <name>",
		text:     "Lists the jobs of a node pool. There are none: no work is placed on nodes.",
		examples: [][2]string{{"Show them", "cairn node pool jobs gpu"}},
		min:      1, max: 1,
		groups: withAgent | withNamespace | withData,
		args:   nodePoolNames,
	}
}

func (c *nodePoolJobs) flags(f *flags) {
	f.text(&c.filter, "filter", "expression", "Print only what the expression holds for.")
}

func (c *nodePoolJobs) run(s *session, args []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	q := s.query()
	q.Filter = c.filter
	list, _, err := client.NodePools().ListJobs(args[0], q)
	if err != nil {
		return failed("listing the jobs of the node pool "+clean(args[0]), err)
	}
	return s.show(list, func() {
		t := newTable("ID", "Namespace", "Status")
		for _, j := range list {
			t.add(j.ID, j.Namespace, j.Status)
		}
		s.print(t, "no jobs of the node pool "+clean(args[0])+" found")
	})
}

// nodePoolApply creates or changes a node pool.
type nodePoolApply struct{ json bool }

func (*nodePoolApply) about() about {
	return about{
		synopsis: "create or update node pool",
		usage:    "[options] <file> | -",
		text:     "Makes a node pool exactly what the file says; - reads standard input. `cairn node pool init` writes a file to start from.",
		examples: [][2]string{
			{"From a file", "cairn node pool apply pool.hcl"},
			{"Copy from another cluster", "cairn node pool info -json -address https://old:4646 gpu | cairn node pool apply -"},
		},
		min: 1, max: 1,
		groups: withAgent,
		args:   anyFile,
	}
}

func (c *nodePoolApply) flags(f *flags) {
	f.boolean(&c.json, "json", "The file is JSON; by its content if not given.")
}

func (c *nodePoolApply) run(s *session, args []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	src, err := s.readFile(args[0])
	if err != nil {
		return err
	}
	p, err := parseNodePool(src, args[0], c.json)
	if err != nil {
		return err
	}
	if p.Name == "" {
		return fmt.Errorf("%s: the name of the node pool is missing", args[0])
	}
	if _, err := client.NodePools().Register(p, s.write()); err != nil {
		return failed("applying node pool "+clean(p.Name), err)
	}
	s.say("applied node pool %s", clean(p.Name))
	return nil
}

// nodePoolFile is a node pool in HCL.
type nodePoolFile struct {
	Pool struct {
		Name        string            `hcl:"name,label"`
		Description string            `hcl:"description,optional"`
		IdentityTTL string            `hcl:"node_identity_ttl,optional"`
		MetaMap     map[string]string `hcl:"meta,optional"`
		MetaBlock   *freeBlock        `hcl:"meta,block"`
		Scheduler   *struct {
			Algorithm  string `hcl:"scheduler_algorithm,optional"`
			Oversubscr *bool  `hcl:"memory_oversubscription_enabled,optional"`
		} `hcl:"scheduler_config,block"`
	} `hcl:"node_pool,block"`
}

func parseNodePool(src []byte, name string, isJSON bool) (*api.NodePool, error) {
	if isJSON || looksLikeJSON(src) {
		var p api.NodePool
		if err := json.NewDecoder(bytes.NewReader(src)).Decode(&p); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return &p, nil
	}
	var f nodePoolFile
	if err := decodeHCL(src, name, &f); err != nil {
		return nil, err
	}
	meta, err := f.Pool.MetaBlock.texts(f.Pool.MetaMap)
	if err != nil {
		return nil, err
	}
	p := &api.NodePool{Name: f.Pool.Name, Description: f.Pool.Description, Meta: meta}
	if t := f.Pool.IdentityTTL; t != "" {
		if p.NodeIdentityTTL, err = time.ParseDuration(t); err != nil {
			return nil, fmt.Errorf("%s: node_identity_ttl %q is no duration such as 24h", name, t)
		}
	}
	if c := f.Pool.Scheduler; c != nil {
		p.SchedulerConfiguration = &api.NodePoolSchedulerConfiguration{
			SchedulerAlgorithm: api.SchedulerAlgorithm(c.Algorithm), MemoryOversubscriptionEnabled: c.Oversubscr}
	}
	return p, nil
}

// nodePoolInit writes an example specification.
type nodePoolInit struct {
	out   string
	quiet bool
}

func (*nodePoolInit) about() about {
	return about{
		synopsis: "write a sample pool file",
		usage:    "[options] [file]",
		text:     "Writes a node pool to start from, to pool.nomad.hcl or pool.nomad.json unless a name is given. With - it goes to standard output. A file that exists is left alone.",
		examples: [][2]string{{"Start one", "cairn node pool init gpu.hcl"}},
		max:      1,
		args:     anyFile,
	}
}

func (c *nodePoolInit) flags(f *flags) {
	f.text(&c.out, "out", "format", "Format, "+oneOfValues(outHCL, outJSON)+". Default: by the name of the file, else hcl.", oneOf(outHCL, outJSON))
	f.boolean(&c.quiet, "quiet", "Say nothing.")
}

const samplePoolHCL = `node_pool "example" {
  description       = "Example node pool"
  node_identity_ttl = "24h"

  meta {
    environment = "prod"
    owner       = "team"
  }
}
`

const samplePoolJSON = `{
    "Name": "example",
    "Description": "Example node pool",
    "NodeIdentityTTL": "24h",
    "Meta": {
        "environment": "prod",
        "owner": "team"
    }
}
`

func (c *nodePoolInit) run(s *session, args []string) error {
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	text := samplePoolHCL
	switch {
	case c.out == outJSON, c.out == "" && strings.HasSuffix(name, ".json"):
		c.out, text = outJSON, samplePoolJSON
	case c.out != "" && c.out != outHCL:
		return usagef("-out: %q is not %s", c.out, oneOfValues(outHCL, outJSON))
	default:
		c.out = outHCL
	}
	if name == "-" {
		_, err := io.WriteString(s.stdout, text)
		return err
	}
	if name == "" {
		name = "pool.nomad." + c.out
	}
	if err := writeNew(name, text); err != nil {
		return err
	}
	if !c.quiet {
		s.say("wrote %s: change it, then run `cairn node pool apply %s`", name, name)
	}
	return nil
}
