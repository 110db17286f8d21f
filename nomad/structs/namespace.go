package structs

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/cairn-project/cairn/internal/errs"
)

const maxDescription = 256

var namespaceName = regexp.MustCompile(`^[a-zA-Z0-9-]{1,128}$`)

// Namespace is a room of names: objects of two namespaces never collide, and
// policies grant rights by namespace.
type Namespace struct {
	// Name is 1 to 128 letters, digits and dashes.
	Name string
	// Description is for people, at most 256 characters.
	Description string
	// Quota names a quota specification, "" for none.
	Quota string
	// Capabilities restricts what jobs of the namespace may use, nil for no restriction.
	Capabilities *NamespaceCapabilities
	// NodePoolConfiguration, VaultConfiguration and ConsulConfiguration are
	// stored as given, nil for none.
	NodePoolConfiguration *NamespaceNodePoolConfiguration
	VaultConfiguration    *NamespaceVaultConfiguration
	ConsulConfiguration   *NamespaceConsulConfiguration
	// Meta is free for the users.
	Meta map[string]string
	// RequiredExtraClaims and OptionalExtraClaims template workload identities.
	RequiredExtraClaims map[string]string
	OptionalExtraClaims map[string]string

	// CreateIndex and ModifyIndex are logical indexes.
	CreateIndex uint64
	ModifyIndex uint64
}

// NamespaceCapabilities lists what jobs of a namespace may and may not use.
type NamespaceCapabilities struct {
	EnabledTaskDrivers   []string
	DisabledTaskDrivers  []string
	EnabledNetworkModes  []string
	DisabledNetworkModes []string
}

// NamespaceNodePoolConfiguration says which node pools a namespace may use.
type NamespaceNodePoolConfiguration struct {
	Default string
	Allowed []string
	Denied  []string
}

// NamespaceVaultConfiguration says which Vault clusters a namespace may use.
type NamespaceVaultConfiguration struct {
	Default string
	Allowed []string
	Denied  []string
}

// NamespaceConsulConfiguration says which Consul clusters a namespace may use.
type NamespaceConsulConfiguration struct {
	Default string
	Allowed []string
	Denied  []string
}

// Copy returns a deep copy; nil gives nil.
func (n *Namespace) Copy() *Namespace {
	if n == nil {
		return nil
	}
	c := *n
	c.Meta = maps.Clone(n.Meta)
	c.RequiredExtraClaims = maps.Clone(n.RequiredExtraClaims)
	c.OptionalExtraClaims = maps.Clone(n.OptionalExtraClaims)
	if p := n.Capabilities; p != nil {
		c.Capabilities = &NamespaceCapabilities{
			EnabledTaskDrivers:   slices.Clone(p.EnabledTaskDrivers),
			DisabledTaskDrivers:  slices.Clone(p.DisabledTaskDrivers),
			EnabledNetworkModes:  slices.Clone(p.EnabledNetworkModes),
			DisabledNetworkModes: slices.Clone(p.DisabledNetworkModes),
		}
	}
	if p := n.NodePoolConfiguration; p != nil {
		c.NodePoolConfiguration = &NamespaceNodePoolConfiguration{p.Default, slices.Clone(p.Allowed), slices.Clone(p.Denied)}
	}
	if p := n.VaultConfiguration; p != nil {
		c.VaultConfiguration = &NamespaceVaultConfiguration{p.Default, slices.Clone(p.Allowed), slices.Clone(p.Denied)}
	}
	if p := n.ConsulConfiguration; p != nil {
		c.ConsulConfiguration = &NamespaceConsulConfiguration{p.Default, slices.Clone(p.Allowed), slices.Clone(p.Denied)}
	}
	return &c
}

// problems returns everything wrong with the namespace.
func (n *Namespace) problems() []errs.Erratum {
	var out []errs.Erratum
	add := func(field, format string, args ...any) {
		out = append(out, errs.Erratum{Field: field, Msg: fmt.Sprintf(format, args...)})
	}
	if !namespaceName.MatchString(n.Name) {
		add("Name", "invalid name %q: must be 1 to 128 letters, digits and dashes", n.Name)
	}
	if len(n.Description) > maxDescription {
		add("Description", "description longer than %d characters", maxDescription)
	}
	return out
}

// Validate returns every problem of the request at once.
func (r *NamespaceUpsertRequest) Validate() error {
	if len(r.Namespaces) == 0 {
		return invalidf("must specify at least one namespace")
	}
	var all []errs.Erratum
	for _, n := range r.Namespaces {
		if n == nil {
			return invalidf("a namespace is null")
		}
		all = append(all, n.problems()...)
	}
	return errataError("invalid namespace", all)
}

// Validate returns every problem of the request at once.
func (r *NamespaceDeleteRequest) Validate() error {
	if len(r.Namespaces) == 0 {
		return invalidf("must specify at least one namespace to delete")
	}
	if slices.Contains(r.Namespaces, DefaultNamespace) {
		return invalidf("cannot delete the namespace %q: it always exists", DefaultNamespace)
	}
	return nil
}

// NamespaceListRequest lists namespaces.
type NamespaceListRequest struct {
	QueryOptions
}

// NamespaceListResponse answers NamespaceListRequest in order of name.
type NamespaceListResponse struct {
	Namespaces []*Namespace
	QueryMeta
}

// NamespaceSpecificRequest reads one namespace.
type NamespaceSpecificRequest struct {
	Name string
	QueryOptions
}

// SingleNamespaceResponse answers NamespaceSpecificRequest; nil means absent.
type SingleNamespaceResponse struct {
	Namespace *Namespace
	QueryMeta
}

// NamespaceSetRequest reads several namespaces, for the leaders of other regions.
type NamespaceSetRequest struct {
	Namespaces []string
	QueryOptions
}

// NamespaceSetResponse answers NamespaceSetRequest; absent names are left out.
type NamespaceSetResponse struct {
	Namespaces map[string]*Namespace
	QueryMeta
}
