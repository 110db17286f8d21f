package nomad

import (
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// listNodes returns a page of the nodes of a pool, "" for those of every pool.
func (v *view) listNodes(opts *structs.QueryOptions, pool string, fields *structs.NodeStubFields) (stubs []*structs.NodeListStub, next string, err error) {
	stubs = []*structs.NodeListStub{}
	query := state.NodeQuery{Prefix: opts.Prefix, Pool: pool, From: opts.NextToken, Reverse: opts.Reverse}
	next, err = paginate(v.Nodes(v.ws, query), opts, page[structs.Node]{
		visible: func(n *structs.Node) bool { return state.Nodes.Visible(v.acl, n) },
		object:  func(n *structs.Node) any { return nodeFilterView(opts, n) },
		key:     func(n *structs.Node) string { return n.ID },
		emit:    func(n *structs.Node) { stubs = append(stubs, n.Stub(fields)) },
	})
	return stubs, next, err
}

// nodeFilterView is what a filter sees of a node: it must not find secrets.
func nodeFilterView(opts *structs.QueryOptions, n *structs.Node) any {
	if opts.Filter == "" {
		return nil
	}
	return n.WithoutSecret()
}
