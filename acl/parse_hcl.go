package acl

// body reads the entries of an HCL block; inner ones end with a brace.
func (p *parser) body(pos Position, inner bool) *treeNode {
	n := &treeNode{kind: objectNode, pos: pos}
	if !p.enter(pos) {
		n.broken = true
		return n
	}
	defer func() { p.depth-- }()
	for {
		switch t := p.tok; {
		case t.kind == newlineToken || t.is(","):
			p.take()
		case t.is("}") && inner:
			p.take()
			return n
		case t.kind == endToken:
			if inner {
				p.fail(t.pos, "the block that begins on line %d is not closed with }", pos.Line)
				n.broken = true
			}
			return n
		default:
			if !p.entry(n) {
				n.broken = true
				p.skipLine()
			}
		}
	}
}

// skipLine goes on behind an error, at the next line or the end of a block.
func (p *parser) skipLine() {
	for p.tok.kind != newlineToken && p.tok.kind != endToken && !p.tok.is("}") {
		p.take()
	}
	if p.depth == 1 && p.tok.is("}") {
		p.take()
	}
}

// entry reads key = value, or key "label" { … }, into n.
func (p *parser) entry(n *treeNode) bool {
	first := p.take()
	if !p.count(first.pos) {
		return false
	}
	if first.kind != wordToken && first.kind != stringToken {
		p.fail(first.pos, "expected a key, found %s", first.describe())
		return false
	}
	f := field{key: first.text, pos: first.pos}
	var labels []token
	for p.tok.kind == stringToken || p.tok.kind == wordToken {
		if labels = append(labels, p.take()); len(labels) > maxDepth {
			break
		}
	}
	switch {
	case p.tok.is("{"):
		f.value = p.labelled(labels, first.pos)
		n.add(f, true)
		return true
	case p.tok.is("=") && len(labels) == 0:
		p.take()
		var ok bool
		if f.value, ok = p.value(); !ok {
			return false
		}
		n.add(f, false)
		return p.endOfEntry(f.key)
	case len(labels) == 0:
		p.fail(p.tok.pos, "expected = or { after %q, found %s", clip(f.key), p.tok.describe())
	default:
		p.fail(p.tok.pos, "expected { after the label of %q, found %s", clip(f.key), p.tok.describe())
	}
	return false
}

// labelled reads the body of a block and wraps it into an object per label.
func (p *parser) labelled(labels []token, pos Position) *treeNode {
	p.take()
	n := p.body(pos, true)
	for i := len(labels) - 1; i >= 0; i-- {
		n = &treeNode{kind: objectNode, pos: pos, fields: []field{{key: labels[i].text, pos: labels[i].pos, value: n}}}
	}
	return n
}

func (p *parser) endOfEntry(key string) bool {
	if p.tok.kind == newlineToken || p.tok.kind == endToken || p.tok.is(",") || p.tok.is("}") {
		return true
	}
	p.fail(p.tok.pos, "expected the end of the line after the value of %q, found %s", clip(key), p.tok.describe())
	return false
}

func (p *parser) value() (*treeNode, bool) {
	t := p.take()
	switch {
	case t.kind == stringToken:
		return &treeNode{kind: stringNode, pos: t.pos, text: t.text}, true
	case t.is("{"):
		return p.body(t.pos, true), true
	case t.is("["):
		return p.list(t.pos)
	case t.kind == wordToken && constant(t.text):
		return &treeNode{kind: otherNode, pos: t.pos, text: t.text}, true
	case t.kind == wordToken:
		p.fail(t.pos, "text must be quoted: write %q", clip(t.text))
	default:
		p.fail(t.pos, "expected a value, found %s", t.describe())
	}
	return nil, false
}

// constant reports whether a word is a number, true, false or null.
func constant(w string) bool {
	return w == "true" || w == "false" || w == "null" || w[0] >= '0' && w[0] <= '9' || w[0] == '-' || w[0] == '+'
}

// list reads up to the closing bracket. HCL takes a comma at the end, JSON does not.
func (p *parser) list(pos Position) (*treeNode, bool) {
	n := &treeNode{kind: listNode, pos: pos}
	if !p.enter(pos) {
		return n, false
	}
	defer func() { p.depth-- }()
	for comma := true; ; {
		p.newlines()
		switch {
		case p.tok.is("]") && (!comma || len(n.items) == 0 || !p.lex.json):
			p.take()
			return n, true
		case p.tok.is(",") && !comma:
			p.take()
			comma = true
		case !comma:
			p.fail(p.tok.pos, "expected , or ] in a list, found %s", p.tok.describe())
			return n, false
		default:
			v, ok := p.item()
			if !ok {
				return n, false
			}
			n.items = append(n.items, v)
			comma = false
		}
	}
}

func (p *parser) item() (*treeNode, bool) {
	if !p.count(p.tok.pos) {
		return nil, false
	}
	if p.lex.json {
		return p.jsonValue()
	}
	return p.value()
}

func (p *parser) newlines() {
	for p.tok.kind == newlineToken {
		p.take()
	}
}
