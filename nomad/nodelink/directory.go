package nodelink

import (
	"cmp"
	"slices"
	"sync"

	"github.com/cairn-project/cairn/nomad/structs"
)

// Directory is which other server of the region has the link of which node, as
// those servers said. It may be out of date: whoever is asked and does not have
// the link says so.
type Directory struct {
	// Changed, if not nil, is told of every change, without a lock held. It is set
	// before the directory is used.
	Changed func()

	mu      sync.Mutex
	servers map[string]*holdings // by ID; guarded by mu
	updates uint64               // guarded by mu
}

// holdings is what one server has.
type holdings struct {
	boot  string
	seq   uint64
	nodes map[string]held
}

// held is a link of another server; learned orders what was heard.
type held struct{ epoch, learned uint64 }

// NewDirectory returns an empty directory.
func NewDirectory() *Directory { return &Directory{servers: map[string]*holdings{}} }

// Apply takes what a server said. It reports whether everything has to be said
// again, because something before it was missed.
func (d *Directory) Apply(u *structs.NodeLinkUpdateRequest) (resync bool) {
	d.mu.Lock()
	h := d.servers[u.ServerID]
	switch {
	case u.Full && h != nil && h.boot == u.Boot && h.seq > u.To: // overtaken by a later one
		d.mu.Unlock()
		return false
	case u.Full:
		h = &holdings{boot: u.Boot, nodes: make(map[string]held, len(u.Changes))}
		d.servers[u.ServerID] = h
	case h == nil || h.boot != u.Boot || h.seq != u.From:
		d.mu.Unlock()
		return true
	}
	h.seq = u.To
	d.updates++
	for _, c := range u.Changes {
		if c.Up {
			h.nodes[c.NodeID] = held{c.Epoch, d.updates}
		} else {
			delete(h.nodes, c.NodeID)
		}
	}
	d.mu.Unlock()
	if d.Changed != nil && (u.Full || len(u.Changes) > 0) {
		d.Changed()
	}
	return false
}

// Keep forgets all servers but those that alive names, by ID.
func (d *Directory) Keep(alive func(server string) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id := range d.servers {
		if !alive(id) {
			delete(d.servers, id)
		}
	}
}

// Forget drops what a server said about a node, since it was found to be wrong.
func (d *Directory) Forget(server, node string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if h := d.servers[server]; h != nil {
		delete(h.nodes, node)
	}
}

// Owners returns the IDs of the servers that said they have the link of a node:
// the one with the highest epoch first, among equals the one that said so last.
func (d *Directory) Owners(node string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	type owner struct {
		id string
		held
	}
	var found []owner
	for id, h := range d.servers {
		if l, ok := h.nodes[node]; ok {
			found = append(found, owner{id, l})
		}
	}
	slices.SortFunc(found, func(a, b owner) int {
		return cmp.Or(cmp.Compare(b.epoch, a.epoch), cmp.Compare(b.learned, a.learned), cmp.Compare(a.id, b.id))
	})
	var out []string
	for _, o := range found {
		out = append(out, o.id)
	}
	return out
}

// Len is how many links other servers said they have.
func (d *Directory) Len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, h := range d.servers {
		n += len(h.nodes)
	}
	return n
}
