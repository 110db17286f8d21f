package acl

// jsonRoot reads a whole JSON source. A first error ends it.
func (p *parser) jsonRoot() *treeNode {
	p.newlines()
	n, ok := p.jsonValue()
	if !ok {
		return &treeNode{kind: objectNode, broken: true}
	}
	if p.newlines(); p.tok.kind != endToken {
		p.fail(p.tok.pos, "expected the end of the policy, found %s", p.tok.describe())
		n.broken = true
	}
	return n
}

func (p *parser) jsonValue() (*treeNode, bool) {
	p.newlines()
	t := p.take()
	switch {
	case t.kind == stringToken:
		return &treeNode{kind: stringNode, pos: t.pos, text: t.text}, true
	case t.is("{"):
		return p.jsonObject(t.pos)
	case t.is("["):
		return p.list(t.pos)
	case t.kind == wordToken && constant(t.text):
		return &treeNode{kind: otherNode, pos: t.pos, text: t.text}, true
	}
	p.fail(t.pos, "expected a value, found %s", t.describe())
	return nil, false
}

func (p *parser) jsonObject(pos Position) (*treeNode, bool) {
	n := &treeNode{kind: objectNode, pos: pos}
	if !p.enter(pos) {
		return n, false
	}
	defer func() { p.depth-- }()
	if p.newlines(); p.tok.is("}") {
		p.take()
		return n, true
	}
	for {
		f, ok := p.jsonField()
		if !ok {
			return n, false
		}
		n.add(f, false)
		p.newlines()
		switch t := p.take(); {
		case t.is("}"):
			return n, true
		case !t.is(","):
			p.fail(t.pos, "expected , or } in an object, found %s", t.describe())
			return n, false
		}
	}
}

func (p *parser) jsonField() (field, bool) {
	p.newlines()
	key := p.take()
	f := field{key: key.text, pos: key.pos}
	if !p.count(key.pos) {
		return f, false
	}
	if key.kind != stringToken {
		p.fail(key.pos, "expected a quoted key, found %s", key.describe())
		return f, false
	}
	if p.newlines(); !p.tok.is(":") {
		p.fail(p.tok.pos, "expected : after %q, found %s", clip(f.key), p.tok.describe())
		return f, false
	}
	p.take()
	var ok bool
	f.value, ok = p.jsonValue()
	return f, ok
}
