package command

import (
	"strings"

	"github.com/posener/complete"

	"github.com/cairn-project/cairn/acl"
)

// operationUsage is how people write an operation.
const operationUsage = "<capability> <kind> [[namespace] name]"

const operationText = "An operation is a capability, the kind of thing, which is a block of the policy language, and what it acts on: `submit-job namespace shop`, `read variables shop app/db`, `write operator`." +
	" The namespace of a variable is \"default\" if it is left out."

// parseOperation reads the words of an operation. namespace is that of variables
// when the words name none.
func parseOperation(words []string, namespace string) (acl.Operation, error) {
	var op acl.Operation
	if len(words) < 2 {
		return op, usagef("an operation is %s", operationUsage)
	}
	op.Capability, op.Kind = words[0], acl.Kind(words[1])
	rest := words[2:]
	if op.Kind == acl.KindVariables {
		op.Namespace = namespace
		if op.Namespace == "" {
			op.Namespace = "default"
		}
		if len(rest) == 2 {
			op.Namespace, rest = rest[0], rest[1:]
		}
	}
	if len(rest) > 1 {
		return op, usagef("%q was not expected: an operation is %s", rest[1], operationUsage)
	}
	if len(rest) == 1 {
		op.Name = rest[0]
	}
	return op, nil
}

// operationWords completes capabilities and kinds.
func operationWords(_ *session, a complete.Args) []string {
	var out []string
	for _, k := range acl.Kinds() {
		out = append(out, string(k))
		out = append(out, acl.Capabilities(k)...)
	}
	var fit []string
	seen := map[string]bool{}
	for _, w := range out {
		if strings.HasPrefix(w, a.Last) && !seen[w] {
			seen[w] = true
			fit = append(fit, w)
		}
	}
	return fit
}
