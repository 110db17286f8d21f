package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/api"
)

// namespaceApply creates or changes a namespace.
type namespaceApply struct {
	f                  *flags
	description, quota string
	json               bool
}

func (*namespaceApply) about() about {
	return about{
		synopsis: "create or update a namespace",
		usage:    "[options] <name> | <file> | -",
		text: "With a name, creates that namespace or changes what the options say and keeps the rest. With a file, or - for standard input, makes the namespace exactly what the file says." +
			"\n\nAn argument with a dot or a slash is a file, as names have neither. A file may hold name, description, quota, and the blocks meta, capabilities, node_pool_config, vault and consul, in HCL; or a namespace of the API in JSON.",
		examples: [][2]string{
			{"Create one", "cairn namespace apply -description 'web shop' web"},
			{"From a file", "cairn namespace apply ./web.hcl"},
			{"Copy from another cluster", "cairn namespace inspect -address https://old:4646 web | cairn namespace apply -"},
		},
		min: 1, max: 1,
		groups: withAgent,
		args:   either(namespaceNames, anyFile),
	}
}

func (c *namespaceApply) flags(f *flags) {
	c.f = f
	f.text(&c.description, "description", "text", "What the namespace is for, at most 256 characters.")
	f.text(&c.quota, "quota", "name", "Quota specification to attach.")
	f.boolean(&c.json, "json", "The file is JSON; by its content if not given.")
}

func (c *namespaceApply) run(s *session, args []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	n, err := c.namespace(s, client, args[0])
	if err != nil {
		return err
	}
	if c.f.given("description") {
		n.Description = c.description
	}
	if c.f.given("quota") {
		n.Quota = c.quota
	}
	if _, err := client.Namespaces().Register(n, s.write()); err != nil {
		return failed("applying namespace "+n.Name, err)
	}
	s.say("applied namespace %s", clean(n.Name))
	return nil
}

// namespace returns what to start from: the file, the namespace as it is, or an empty one.
func (c *namespaceApply) namespace(s *session, client *api.Client, arg string) (*api.Namespace, error) {
	if arg == "-" || strings.ContainsAny(arg, "./") {
		src, err := s.readFile(arg)
		if err != nil {
			return nil, err
		}
		n, err := parseNamespace(src, arg, c.json)
		if err == nil && n.Name == "" {
			err = fmt.Errorf("%s: name is missing", arg)
		}
		return n, err
	}
	if c.json {
		return nil, usagef("-json goes with a file; %q is a name", arg)
	}
	n, _, err := client.Namespaces().Info(escape(arg), s.query())
	switch {
	case isStatus(err, http.StatusNotFound):
		return &api.Namespace{Name: arg}, nil
	case err != nil:
		return nil, failed("reading namespace "+arg, err)
	}
	return n, nil
}

// namespaceFile is a namespace in HCL.
type namespaceFile struct {
	Name         string             `hcl:"name,optional"`
	Description  string             `hcl:"description,optional"`
	Quota        string             `hcl:"quota,optional"`
	MetaMap      map[string]string  `hcl:"meta,optional"`
	MetaBlock    *freeBlock         `hcl:"meta,block"`
	Capabilities *capabilitiesBlock `hcl:"capabilities,block"`
	NodePool     *choiceBlock       `hcl:"node_pool_config,block"`
	Vault        *choiceBlock       `hcl:"vault,block"`
	Consul       *choiceBlock       `hcl:"consul,block"`
	Required     map[string]string  `hcl:"required_extra_claims,optional"`
	Optional     map[string]string  `hcl:"optional_extra_claims,optional"`
}

type capabilitiesBlock struct {
	EnabledTaskDrivers   []string `hcl:"enabled_task_drivers,optional"`
	DisabledTaskDrivers  []string `hcl:"disabled_task_drivers,optional"`
	EnabledNetworkModes  []string `hcl:"enabled_network_modes,optional"`
	DisabledNetworkModes []string `hcl:"disabled_network_modes,optional"`
}

// choiceBlock says which of several things a namespace may use.
type choiceBlock struct {
	Default string   `hcl:"default,optional"`
	Allowed []string `hcl:"allowed,optional"`
	Denied  []string `hcl:"denied,optional"`
}

func parseNamespace(src []byte, name string, isJSON bool) (*api.Namespace, error) {
	if isJSON || looksLikeJSON(src) {
		var n api.Namespace
		dec := json.NewDecoder(bytes.NewReader(src))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&n); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return &n, nil
	}
	var f namespaceFile
	if err := decodeHCL(src, name, &f); err != nil {
		return nil, err
	}
	meta, err := f.MetaBlock.texts(f.MetaMap)
	if err != nil {
		return nil, err
	}
	n := &api.Namespace{
		Name: f.Name, Description: f.Description, Quota: f.Quota, Meta: meta,
		RequiredExtraClaims: f.Required, OptionalExtraClaims: f.Optional,
	}
	if c := f.Capabilities; c != nil {
		caps := api.NamespaceCapabilities(*c)
		n.Capabilities = &caps
	}
	if p := f.NodePool; p != nil {
		n.NodePoolConfiguration = &api.NamespaceNodePoolConfiguration{Default: p.Default, Allowed: p.Allowed, Denied: p.Denied}
	}
	if p := f.Vault; p != nil {
		n.VaultConfiguration = &api.NamespaceVaultConfiguration{Default: p.Default, Allowed: p.Allowed, Denied: p.Denied}
	}
	if p := f.Consul; p != nil {
		n.ConsulConfiguration = &api.NamespaceConsulConfiguration{Default: p.Default, Allowed: p.Allowed, Denied: p.Denied}
	}
	return n, nil
}

// sortedNamespaces lists namespaces in order of name.
func sortedNamespaces(client *api.Client, q *api.QueryOptions) ([]*api.Namespace, error) {
	list, _, err := client.Namespaces().List(q)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(n *api.Namespace) bool { return n == nil })
	slices.SortFunc(list, func(a, b *api.Namespace) int { return strings.Compare(a.Name, b.Name) })
	if list == nil {
		list = []*api.Namespace{}
	}
	return list, nil
}

// escape makes a name safe as one segment of a path of the API.
func escape(name string) string { return url.PathEscape(name) }
