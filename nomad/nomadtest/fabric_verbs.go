package nomadtest

import "time"

// Cut parts two hosts: connections between them stall without an error,
// datagrams are lost and dials block, until Heal.
func (f *Fabric) Cut(a, b string) {
	f.change(func() { f.cuts[linkOf(a, b)] = true })
}

// Heal joins two hosts again, also when one of them is isolated. What was held
// back on their connections arrives.
func (f *Fabric) Heal(a, b string) {
	f.change(func() { f.cuts[linkOf(a, b)] = false })
}

// Isolate cuts a host from all others, also from those yet to come.
func (f *Fabric) Isolate(a string) {
	f.change(func() {
		host := hostOf(a)
		f.isolated[host] = true
		for l := range f.cuts {
			if l.low == host || l.high == host {
				delete(f.cuts, l)
			}
		}
	})
}

// HealAll undoes every Cut and Isolate.
func (f *Fabric) HealAll() {
	f.change(func() {
		clear(f.cuts)
		clear(f.isolated)
	})
}

// Delay makes everything between two hosts take d in each direction, 0 for none.
func (f *Fabric) Delay(a, b string, d time.Duration) {
	f.change(func() { f.delays[linkOf(a, b)] = d })
}

// Drop loses the share p of all datagrams, from 0 for none to 1 for all.
// Connections are not touched.
func (f *Fabric) Drop(p float64) {
	f.change(func() { f.drop = p })
}

// Crash ends a host as the end of its process would: its listeners and
// transports are gone, its connections are reset. Nothing can be dialed from
// it until Listen or Transport bring the host up again.
func (f *Fabric) Crash(addr string) {
	host := hostOf(addr)
	f.change(func() { f.crashed[host] = true })
	f.kill(func(h string) bool { return h == host })
}

// change applies do under mu and tells every connection and waiting dial.
func (f *Fabric) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
	for c := range f.conns {
		c.out.condition(f.isCutLocked(c.link.low, c.link.high), f.delays[c.link])
	}
	close(f.changed)
	f.changed = make(chan struct{})
}

// isCutLocked needs mu. A host always reaches itself.
func (f *Fabric) isCutLocked(a, b string) bool {
	l := linkOf(a, b)
	if l.low == l.high {
		return false
	}
	if cut, said := f.cuts[l]; said {
		return cut
	}
	return f.isolated[l.low] || f.isolated[l.high]
}

// Reset ends the connections between two hosts with an error at both ends. What
// was on its way is lost; new connections can be made.
func (f *Fabric) Reset(a, b string) {
	f.mu.Lock()
	var conns []*fabricConn
	for c := range f.conns {
		if c.link == linkOf(a, b) {
			conns = append(conns, c)
		}
	}
	f.mu.Unlock()
	for _, c := range conns {
		c.reset()
	}
}
