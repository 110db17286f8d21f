package nomadtest

import "github.com/cairn-project/cairn/nomad"

// Add starts one more server, which joins those that are there and waits to be
// taken in.
func (c *Cluster) Add(opts ...Option) *Node {
	c.t.Helper()
	i := len(c.Nodes)
	c.Nodes = append(c.Nodes, c.newNode(i, 0, opts))
	c.start(i)
	return c.Nodes[i]
}

// Reconfigure changes the configuration that the node has from its next start on.
func (n *Node) Reconfigure(o Option) {
	before := n.change
	n.change = func(conf *nomad.Config) {
		before(conf)
		o(conf)
	}
}
