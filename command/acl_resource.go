package command

import (
	"net/http"

	"github.com/hashicorp/nomad/api"
)

// aclList lists the objects of one kind of access control.
type aclList[T any] struct {
	words about
	// what is the kind in the plural.
	what string
	head []string
	row  func(*T) []string
	// fetch asks the agent; prefix and filter are "" unless the words allow them.
	fetch func(*api.Client, *api.QueryOptions) ([]*T, error)
	// filtered adds -filter, globals adds -global.
	filtered, globals bool

	filter string
	global bool
}

func (c *aclList[T]) about() about {
	a := c.words
	a.groups = withAgent | withData
	return a
}

func (c *aclList[T]) flags(f *flags) {
	if c.filtered {
		f.text(&c.filter, "filter", "expression", "Print only what the expression holds for.")
	}
	if c.globals {
		f.boolean(&c.global, "global", "Print only those that are valid in all regions.")
	}
}

func (c *aclList[T]) run(s *session, args []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	q := s.query()
	q.Filter = c.filter
	if c.global {
		q.Params = map[string]string{"global": "true"}
	}
	if len(args) > 0 {
		q.Prefix = args[0]
	}
	list, err := c.fetch(client, q)
	if err != nil {
		return failed("listing "+c.what, err)
	}
	if list == nil {
		list = []*T{}
	}
	return s.show(list, func() {
		t := newTable(c.head...)
		for _, v := range list {
			if v != nil {
				t.add(c.row(v)...)
			}
		}
		s.print(t, "no "+c.what+" found")
	})
}

// aclInfo shows one object.
type aclInfo[T any] struct {
	words about
	// what is the kind in the singular.
	what  string
	fetch func(*api.Client, string, *api.QueryOptions) (*T, error)
	print func(*session, *T)
}

func (c *aclInfo[T]) about() about {
	a := c.words
	a.min, a.max, a.groups = 1, 1, withAgent|withData
	return a
}

func (*aclInfo[T]) flags(*flags) {}

func (c *aclInfo[T]) run(s *session, args []string) error {
	v, err := readACL(s, c.what, args[0], c.fetch)
	if err != nil {
		return err
	}
	return s.show(v, func() { c.print(s, v) })
}

// readACL reads one object of the kind what.
func readACL[T any](s *session, what, id string, fetch func(*api.Client, string, *api.QueryOptions) (*T, error)) (*T, error) {
	client, err := s.client()
	if err != nil {
		return nil, err
	}
	v, err := fetch(client, escape(id), s.query())
	switch {
	case isStatus(err, http.StatusNotFound):
		return nil, hinted(objectFailed("", what, id, err), "`cairn "+aclListOf[what]+"` shows what there is")
	case err != nil:
		return nil, objectFailed("reading", what, id, err)
	}
	return v, nil
}

// aclListOf names the command that lists a kind.
var aclListOf = map[string]string{
	"policy": "acl policy list", "token": "acl token list", "role": "acl role list",
	"auth method": "acl auth-method list", "binding rule": "acl binding-rule list",
	"node pool": "node pool list",
}

// aclDelete deletes one object.
type aclDelete struct {
	words about
	what  string
	del   func(*api.Client, string, *api.WriteOptions) error
	// find looks whether there is such an object, and returns its ID; nil leaves that
	// to the servers. One that the caller may not read is deleted by what it was called.
	find func(*session, string) (string, error)
	// last says why an object is kept unless the command is forced, nil for never.
	last func(*session, string) error

	force bool
}

func (c *aclDelete) about() about {
	a := c.words
	a.min, a.max, a.groups = 1, 1, withAgent
	return a
}

func (c *aclDelete) flags(f *flags) {
	if c.last != nil {
		f.boolean(&c.force, "force", "Delete the last management token too.")
	}
}

func (c *aclDelete) run(s *session, args []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	id := args[0]
	if c.find != nil {
		found, err := c.find(s, id)
		switch {
		case err == nil:
			id = found
		case !isStatus(err, http.StatusForbidden):
			return err
		}
	}
	if c.last != nil && !c.force {
		if err := c.last(s, id); err != nil {
			return err
		}
	}
	err = c.del(client, escape(id), s.write())
	switch {
	case isStatus(err, http.StatusNotFound):
		return hinted(objectFailed("", c.what, args[0], err), "`cairn "+aclListOf[c.what]+"` shows what there is")
	case err != nil:
		return objectFailed("deleting", c.what, args[0], err)
	}
	s.say("deleted %s %s", c.what, clean(args[0]))
	return nil
}
