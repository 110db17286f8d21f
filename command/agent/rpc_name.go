package agent

import (
	"slices"
	"strings"
	"unicode"
)

// rpcVerbs are the verbs that move to the end of a generated name, and what they are called there.
var rpcVerbs = map[string]string{
	"list": "list", "get": "get", "read": "get", "upsert": "upsert", "delete": "delete", "exchange": "exchange",
}

// rpcWords are words that the rules would cut or join wrongly.
var rpcWords = strings.NewReplacer("WhoAmI", "Whoami", "ByID", "", "ByName", "ByName", "OIDC", "Oidc", "URL", "Url")

// rpcName returns <resource>_<verb> for "Service.Method": the service in the
// singular, what the method names beside it, and the verb where it is one that
// all resources share. Namespace.ListNamespaces is namespace_list, Variables.Read
// is variable_get, ACL.GetRoleByName is acl_role_by_name_get.
func rpcName(rpc string) string {
	service, method, _ := strings.Cut(rpc, ".")
	resource := singulars(words(service))
	verb := words(rpcWords.Replace(method))
	name, common := rpcVerbs[verb[0]]
	if !common {
		return strings.Join(append(resource, verb...), "_")
	}
	rest := singulars(verb[1:])
	if len(rest) >= len(resource) && slices.Equal(rest[:len(resource)], resource) {
		rest = rest[len(resource):]
	}
	return strings.Join(append(append(resource, rest...), name), "_")
}

// words splits a Go name at its capitals, a run of them being one word: ACL,
// NodePool and GetRole are acl, node pool and get role.
func words(name string) []string {
	var out []string
	runes := []rune(name)
	start := 0
	for i := 1; i <= len(runes); i++ {
		if i < len(runes) {
			begins := unicode.IsUpper(runes[i]) && !unicode.IsUpper(runes[i-1])
			acronymEnds := unicode.IsUpper(runes[i]) && i+1 < len(runes) && unicode.IsLower(runes[i+1])
			if !begins && !acronymEnds {
				continue
			}
		}
		out = append(out, strings.ToLower(string(runes[start:i])))
		start = i
	}
	return out
}

// singulars returns each word in the singular, by the rules that our names follow.
func singulars(in []string) []string {
	out := make([]string, len(in))
	for i, w := range in {
		switch {
		case strings.HasSuffix(w, "ies"):
			w = strings.TrimSuffix(w, "ies") + "y"
		case strings.HasSuffix(w, "ss"), strings.HasSuffix(w, "us"):
		default:
			w = strings.TrimSuffix(w, "s")
		}
		out[i] = w
	}
	return out
}
