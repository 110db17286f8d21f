package command

import (
	"encoding/json"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/posener/complete"
)

const (
	testAccessor = "11111111-2222-3333-4444-555555555555"
	testSecret   = "99999999-2222-3333-4444-555555555555"
)

var (
	cannedToken = map[string]any{
		"AccessorID": testAccessor, "SecretID": testSecret, "Name": "ci", "Type": "client", "Policies": []string{"web"},
		"Roles": []map[string]any{{"ID": "r1", "Name": "ops"}}, "Global": true, "CreateTime": "2024-01-02T03:04:05Z",
		"ExpirationTime": "2024-01-02T04:04:05Z", "ExpirationTTL": "1h0m0s", "CreateIndex": 7, "ModifyIndex": 8,
	}
	cannedRole   = map[string]any{"ID": "r1", "Name": "ops", "Description": "d", "Policies": []map[string]any{{"Name": "web"}}}
	cannedMethod = map[string]any{"Name": "gh", "Type": "JWT", "TokenLocality": "local", "MaxTokenTTL": "1h0m0s", "Default": true,
		"Config": map[string]any{"JWKSURL": "https://keys", "OIDCClientSecret": "redacted", "ClaimMappings": map[string]string{"sub": "who"}}}
	cannedRule = map[string]any{"ID": "b1", "AuthMethod": "gh", "Selector": "value.who == x", "BindType": "role", "BindName": "ops"}
)

func aclReplies() map[string]reply {
	stub := map[string]any{"AccessorID": testAccessor, "Name": "ci", "Type": "client", "Policies": []string{"web"}}
	return map[string]reply{
		"GET /v1/acl/policies":           {body: []map[string]any{{"Name": "web", "Description": "web team"}}},
		"GET /v1/acl/policies?prefix=zz": {body: "null"},
		"GET /v1/acl/policy/self":        {body: []map[string]any{{"Name": "web", "JobACL": map[string]any{"Namespace": "shop", "JobID": "api"}}}},
		"GET /v1/acl/policy/web":         {body: map[string]any{"Name": "web", "Rules": "agent {\n\tpolicy = \"read\"\n}\n", "Description": "\x1b[31m", "ModifyIndex": 4}},
		"GET /v1/acl/policy/nope":        {status: 404, body: "ACL policy not found"},
		"PUT /v1/acl/policy/web":         {}, "DELETE /v1/acl/policy/web": {},
		"GET /v1/acl/tokens":     {body: []map[string]any{stub}},
		"GET /v1/acl/token/self": {body: cannedToken}, "GET /v1/acl/token/" + testAccessor: {body: cannedToken},
		"PUT /v1/acl/token": {body: cannedToken}, "PUT /v1/acl/token/" + testAccessor: {body: cannedToken},
		"DELETE /v1/acl/token/" + testAccessor: {},
		"PUT /v1/acl/bootstrap":                {body: cannedToken},
		"GET /v1/acl/role/self":                {body: []map[string]any{cannedRole}},
		"GET /v1/acl/roles":                    {body: []map[string]any{cannedRole}},
		"GET /v1/acl/role/r1":                  {body: cannedRole}, "GET /v1/acl/role/name/ops": {body: cannedRole},
		"PUT /v1/acl/role": {body: cannedRole}, "PUT /v1/acl/role/r1": {body: cannedRole}, "DELETE /v1/acl/role/r1": {},
		"GET /v1/acl/auth-methods":   {body: []map[string]any{{"Name": "gh", "Type": "JWT", "Default": true}, {"Name": "sso", "Type": "OIDC"}}},
		"GET /v1/acl/auth-method/gh": {body: cannedMethod},
		"PUT /v1/acl/auth-method":    {body: cannedMethod}, "PUT /v1/acl/auth-method/gh": {body: cannedMethod}, "DELETE /v1/acl/auth-method/gh": {},
		"GET /v1/acl/binding-rules":   {body: []map[string]any{{"ID": "b1", "AuthMethod": "gh"}}},
		"GET /v1/acl/binding-rule/b1": {body: cannedRule},
		"PUT /v1/acl/binding-rule":    {body: cannedRule}, "PUT /v1/acl/binding-rule/b1": {body: cannedRule}, "DELETE /v1/acl/binding-rule/b1": {},
	}
}

func TestACLReads(t *testing.T) {
	f := newFakeAgent(t, aclReplies())
	for _, tc := range []struct {
		args string
		want []string
	}{
		{"acl policy list", []string{"Name  Description\nweb   web team\n"}},
		{"acl policy list zz", []string{"no policies found"}},
		{"acl policy list -json zz", []string{"[]\n"}},
		{"acl policy self", []string{"web   shop/api  -"}},
		{"acl policy info web", []string{"Name         = web\n", `\x1b[31m`, "Rules\nagent {\n\tpolicy = \"read\"\n}\n"}},
		{"acl policy info -t {{.Name}} web", []string{"web\n"}},
		{"acl token list", []string{testAccessor, "ci", "never"}},
		{"acl token list -filter a -global", []string{testAccessor}},
		{"acl token info " + testAccessor, []string{masked, "Expires      = 2024-01-02T04:04:05Z", "Roles        = ops"}},
		{"acl token self", []string{masked}},
		{"acl role list", []string{"r1  ops   d            web"}},
		{"acl role self", []string{"r1  ops   d            web"}},
		{"acl role info r1", []string{"Name         = ops"}},
		{"acl role info -by-name ops", []string{"ID           = r1"}},
		{"acl role info ops", []string{"ID           = r1"}},
		{"acl auth-method list", []string{"gh    JWT   yes", "sso   OIDC  no"}},
		{"acl auth-method info gh", []string{"Max Token TTL     = 1h0m0s", "OIDC Client Secret = redacted", "Claim Mappings\nsub = who"}},
		{"acl binding-rule list", []string{"b1  gh           -"}},
		{"acl binding-rule info b1", []string{"Selector     = value.who == x"}},
	} {
		f.run(strings.Fields(tc.args)...).expect(t, 0, tc.want, nil)
	}
	if line := f.asked()[7]; line != "GET /v1/acl/tokens?filter=a&global=true" {
		t.Errorf("asked %s", line)
	}
	f.run("acl", "policy", "info", "nope").expect(t, 1, nil, []string{"policy nope: ACL policy not found (HTTP 404)", "`cairn acl policy list` shows"})
}

// A secret is shown by what makes tokens, and by what reads them when asked.
func TestACLSecrets(t *testing.T) {
	f := newFakeAgent(t, aclReplies())
	for args, shown := range map[string]bool{
		"acl token self":                                        false,
		"acl token self -json":                                  false,
		"acl token self -t {{.SecretID}}":                       false,
		"acl token self -show-secret":                           true,
		"acl token info " + testAccessor:                        false,
		"acl token info -show-secret -json " + testAccessor:     true,
		"acl token update -name x " + testAccessor:              false,
		"acl token update -name x -show-secret " + testAccessor: true,
		"acl token create -policy web":                          true,
		"acl bootstrap":                                         true,
		"acl token list -json":                                  false,
		"login -type jwt -method gh -login-token j":             false,
		"login -type jwt -method gh -login-token j -json":       true,
		"login -type jwt -method gh -login-token j -export":     true,
	} {
		f.replies["PUT /v1/acl/login"] = reply{body: cannedToken}
		r := f.run(strings.Fields(args)...)
		if r.code != 0 || strings.Contains(r.stdout+r.stderr, testSecret) != shown {
			t.Errorf("%s: code %d\n%s%s", args, r.code, r.stdout, r.stderr)
		}
	}
}

func TestACLWrites(t *testing.T) {
	rules := write(t, "web.hcl", `agent { policy = "read" }`)
	conf := write(t, "gh.json", `{"JWKSURL":"https://new","ClockSkewLeeway":"1m"}`)
	type object = map[string]any
	for _, tc := range []struct {
		args []string
		line string
		want object // what must be in the body
	}{
		{[]string{"acl", "policy", "apply", "-description", "d", "web", rules}, "PUT /v1/acl/policy/web",
			object{"Name": "web", "Description": "d", "Rules": `agent { policy = "read" }`, "JobACL": nil}},
		{[]string{"acl", "policy", "apply", "-job", "api", "-group", "g", "web", rules}, "PUT /v1/acl/policy/web",
			object{"JobACL": object{"Namespace": "default", "JobID": "api", "Group": "g", "Task": ""}}},
		{[]string{"acl", "policy", "delete", "web"}, "DELETE /v1/acl/policy/web", nil},
		{[]string{"acl", "token", "create", "-name", "n", "-policy", "a", "-policy", "b", "-role-name", "r", "-role-id", "i", "-ttl", "90s", "-global"}, "PUT /v1/acl/token",
			object{"Name": "n", "Type": "client", "Policies": []any{"a", "b"}, "ExpirationTTL": "1m30s", "Global": true,
				"Roles": []any{object{"ID": "", "Name": "r"}, object{"ID": "i", "Name": ""}}}},
		{[]string{"acl", "token", "create", "-type", "management"}, "PUT /v1/acl/token", object{"Type": "management", "Policies": nil}},
		{[]string{"acl", "token", "update", "-policy", "x", testAccessor}, "PUT /v1/acl/token/" + testAccessor,
			object{"Name": "ci", "Policies": []any{"x"}, "Roles": []any{object{"ID": "r1", "Name": "ops"}}, "AccessorID": testAccessor, "SecretID": testSecret}},
		{[]string{"acl", "token", "update", "-type", "management", testAccessor}, "PUT /v1/acl/token/" + testAccessor,
			object{"Type": "management", "Policies": nil, "Roles": nil}},
		{[]string{"acl", "token", "delete", testAccessor}, "DELETE /v1/acl/token/" + testAccessor, nil},
		{[]string{"acl", "role", "create", "-name", "ops", "-policy", "web"}, "PUT /v1/acl/role", object{"Name": "ops", "Policies": []any{object{"Name": "web"}}}},
		{[]string{"acl", "role", "update", "-description", "new", "r1"}, "PUT /v1/acl/role/r1",
			object{"ID": "r1", "Name": "ops", "Description": "new", "Policies": []any{object{"Name": "web"}}}},
		{[]string{"acl", "role", "update", "-description", "new", "ops"}, "PUT /v1/acl/role/r1", object{"ID": "r1", "Description": "new"}},
		{[]string{"acl", "role", "delete", "r1"}, "DELETE /v1/acl/role/r1", nil},
		{[]string{"acl", "role", "delete", "ops"}, "DELETE /v1/acl/role/r1", nil},
		{[]string{"acl", "token", "create", "-policy", "web", "-expires-at", "2999-01-31T18:00:00+01:00"}, "PUT /v1/acl/token",
			object{"ExpirationTime": "2999-01-31T18:00:00+01:00"}},
		{[]string{"acl", "auth-method", "create", "-name", "gh", "-type", "jwt", "-max-token-ttl", "1h", "-token-locality", "local", "-default", "-config", conf}, "PUT /v1/acl/auth-method",
			object{"Name": "gh", "Type": "JWT", "MaxTokenTTL": "1h0m0s", "TokenLocality": "local", "Default": true}},
		{[]string{"acl", "auth-method", "update", "-default=false", "-max-token-ttl", "2h", "gh"}, "PUT /v1/acl/auth-method/gh",
			object{"Name": "gh", "Type": "JWT", "MaxTokenTTL": "2h0m0s", "Default": false}},
		{[]string{"acl", "auth-method", "delete", "gh"}, "DELETE /v1/acl/auth-method/gh", nil},
		{[]string{"acl", "binding-rule", "create", "-auth-method", "gh", "-bind-type", "management", "-selector", "s"}, "PUT /v1/acl/binding-rule",
			object{"AuthMethod": "gh", "BindType": "management", "BindName": "", "Selector": "s"}},
		{[]string{"acl", "binding-rule", "update", "-selector", "", "b1"}, "PUT /v1/acl/binding-rule/b1",
			object{"ID": "b1", "AuthMethod": "gh", "BindType": "role", "BindName": "ops", "Selector": ""}},
		{[]string{"acl", "binding-rule", "update", "-bind-type", "management", "b1"}, "PUT /v1/acl/binding-rule/b1",
			object{"ID": "b1", "BindType": "management", "BindName": ""}},
		{[]string{"acl", "binding-rule", "delete", "b1"}, "DELETE /v1/acl/binding-rule/b1", nil},
		{[]string{"acl", "bootstrap"}, "PUT /v1/acl/bootstrap", nil},
	} {
		f := newFakeAgent(t, aclReplies())
		f.run(tc.args...).expect(t, 0, nil, nil)
		last := f.lastWrite()
		if last.line != tc.line {
			t.Errorf("%q asked %s", tc.args, last.line)
		}
		var sent object
		if tc.want != nil {
			if err := json.Unmarshal([]byte(last.body), &sent); err != nil {
				t.Fatalf("%q sent %q", tc.args, last.body)
			}
		}
		for key, want := range tc.want {
			if diff := cmp.Diff(want, sent[key]); diff != "" {
				t.Errorf("%q: %s (-want +sent):\n%s", tc.args, key, diff)
			}
		}
	}
}

// What is not there is not said to be deleted; who may not look asks to delete anyway.
func TestACLDeleteOfAnAbsentObject(t *testing.T) {
	f := newFakeAgent(t, aclReplies())
	for args, want := range map[string]string{
		"acl policy delete nope": "policy nope: ACL policy not found (HTTP 404)",
		"acl role delete nope":   "role nope: ",
	} {
		f.run(strings.Fields(args)...).expect(t, 1, nil, []string{want, " list` shows what there is"})
	}
	f.replies["DELETE /v1/acl/auth-method/nope"] = reply{status: 404, body: "ACL auth-method not found"}
	f.run("acl", "auth-method", "delete", "nope").expect(t, 1, nil, []string{"auth method nope: ACL auth-method not found (HTTP 404)", "acl auth-method list` shows what there is"})
	f = newFakeAgent(t, aclReplies())
	if last := f.lastWrite(); last.line != "" {
		t.Errorf("asked %s", last.line)
	}
	f.replies["GET /v1/acl/policy/web"] = reply{status: 403, body: "Permission denied"}
	f.replies["GET /v1/acl/role/r1"] = reply{status: 403, body: "Permission denied"}
	f.replies["GET /v1/acl/role/name/r1"] = reply{status: 403, body: "Permission denied"}
	for args, line := range map[string]string{"acl policy delete web": "DELETE /v1/acl/policy/web", "acl role delete r1": "DELETE /v1/acl/role/r1"} {
		f.run(strings.Fields(args)...).expect(t, 0, []string{"deleted "}, nil)
		if last := f.lastWrite(); last.line != line {
			t.Errorf("%s asked %s", args, last.line)
		}
	}
}

func TestACLLastManagementToken(t *testing.T) {
	f := newFakeAgent(t, aclReplies())
	at := func(s string) map[string]any {
		return map[string]any{"AccessorID": s, "Type": "management"}
	}
	gone := at("b")
	gone["ExpirationTime"] = "2020-01-01T00:00:00Z"
	list := "GET /v1/acl/tokens?filter=" + url.QueryEscape(`Type == "management"`)
	f.replies[list] = reply{body: []any{at(testAccessor), gone}}
	f.run("acl", "token", "delete", testAccessor).expect(t, 1, nil, []string{"is the last management token", "give -force"})
	if last := f.lastWrite(); last.line != "" {
		t.Errorf("asked %s", last.line)
	}
	f.run("acl", "token", "delete", "-force", testAccessor).expect(t, 0, []string{"deleted token"}, nil)
	for _, answer := range []reply{{body: []any{at(testAccessor), at("b")}}, {body: []any{at("b")}}, {status: 403, body: "Permission denied"}} {
		f.replies[list] = answer
		f.run("acl", "token", "delete", testAccessor).expect(t, 0, []string{"deleted token"}, nil)
	}
}

// Policies that are not there are told of, on standard error; those that the caller
// may not see are not.
func TestACLWarnsOfAbsentPolicies(t *testing.T) {
	f := newFakeAgent(t, aclReplies())
	token := maps.Clone(cannedToken)
	token["Policies"] = []string{"web", "nope", "hidden"}
	role := maps.Clone(cannedRole)
	role["Policies"] = []map[string]any{{"Name": "nope"}}
	f.replies["GET /v1/acl/policy/hidden"] = reply{status: 403, body: "Permission denied"}
	f.replies["PUT /v1/acl/token"], f.replies["PUT /v1/acl/token/"+testAccessor], f.replies["GET /v1/acl/token/self"] = reply{body: token}, reply{body: token}, reply{body: token}
	f.replies["GET /v1/acl/role/r1"] = reply{body: role}
	for _, args := range []string{
		"acl token create -json -policy web -policy nope -policy hidden", "acl token update -policy nope " + testAccessor, "acl token self", "acl role info r1",
	} {
		r := f.run(strings.Fields(args)...)
		r.expect(t, 0, nil, []string{"warning: there is no policy nope"})
		if strings.Count(r.stderr, "warning") != 1 || strings.Contains(r.stdout, "warning") {
			t.Errorf("%s: %s%s", args, r.stdout, r.stderr)
		}
	}
}

// A rule that can give nothing to anybody is told of: what it gives is not there, or it
// asks for claims that the auth method does not map.
func TestACLWarnsOfRulesWithoutEffect(t *testing.T) {
	for _, tc := range []struct {
		selector, kind, name string
		want                 []string
	}{
		{`value.who == "value.other" and "a\"list.b" not in value.who`, "role", "ops", nil},
		{`value.who == "x"`, "policy", "repo-${value.who}", nil},
		{"", "management", "", nil},
		{"", "role", "none", []string{"there is no role none"}},
		{"", "policy", "nope", []string{"there is no policy nope"}},
		{`"ops" in list.groups`, "policy", "${value.sub}", []string{"the auth method gh maps no claim to list.groups; there is -", "the auth method gh maps no claim to value.sub; there is who"}},
	} {
		f := newFakeAgent(t, aclReplies())
		f.replies["PUT /v1/acl/binding-rule"] = reply{body: map[string]any{"ID": "b1", "AuthMethod": "gh", "Selector": tc.selector, "BindType": tc.kind, "BindName": tc.name}}
		args := []string{"acl", "binding-rule", "create", "-auth-method", "gh", "-bind-type", tc.kind, "-bind-name", tc.name}
		r := f.run(args...)
		r.expect(t, 0, nil, tc.want)
		if n := strings.Count(r.stderr, "warning"); n != len(tc.want) {
			t.Errorf("%+v: %d warnings: %s", tc, n, r.stderr)
		}
	}
	f := newFakeAgent(t, aclReplies())
	f.replies["GET /v1/acl/role/name/ops"], f.replies["GET /v1/acl/auth-method/gh"] = reply{status: 403, body: "Permission denied"}, reply{status: 403, body: "Permission denied"}
	if r := f.run("acl", "binding-rule", "update", "-description", "d", "b1"); r.code != 0 || r.stderr != "" {
		t.Errorf("who may not look is told: %s", r.stderr)
	}
}

// Whoever shows a token is told that it may be the token; a reason that is given stands.
func TestRefusalOfAToken(t *testing.T) {
	f := newFakeAgent(t, map[string]reply{"GET /v1/acl/token/self": {status: 403, body: "Permission denied"}, "GET /v1/acl/tokens": {status: 403, body: "Permission denied: the token is local"}})
	f.run("acl", "token", "self").expect(t, 1, nil, []string{"give a token that may do this with -token or CAIRN_TOKEN"})
	f.run("acl", "token", "self", "-token", "old").expect(t, 1, nil, []string{"or it expired or was deleted"})
	f.run("acl", "token", "list", "-token", "old").expect(t, 1, nil, []string{"the token is local (HTTP 403)", "give a token that may do this"})
}

// Where there are no tokens, none is asked for.
func TestRefusalWithoutAccessControl(t *testing.T) {
	f := newFakeAgent(t, map[string]reply{"PUT /v1/operator/join-token": {status: 403, body: "Permission denied: while access control is off, ask a server"}})
	r := f.run("operator", "join-token", "create", "-role", "server")
	r.expect(t, 1, nil, []string{"permission denied: while access control is off, ask a server (HTTP 403)"})
	if strings.Contains(r.stderr, "give a token") {
		t.Error(r.stderr)
	}
}

func TestACLBootstrapTakesASecret(t *testing.T) {
	f := newFakeAgent(t, aclReplies())
	i := invocation{env: map[string]string{"CAIRN_ADDR": f.URL, "CAIRN_TOKEN": "old"}, stdin: strings.NewReader(testSecret + "\n")}
	i.run("acl", "bootstrap", "-").expect(t, 0, []string{testSecret}, nil)
	if last := f.last(); last.body != `{"BootstrapSecret":"`+testSecret+`"}` || last.token != "" {
		t.Errorf("sent %+v", last)
	}
	f.run("acl", "bootstrap", write(t, "empty", " \n")).expect(t, 1, nil, []string{"is empty"})
	f.replies["PUT /v1/acl/bootstrap"] = reply{status: 400, body: "ACL bootstrap already done (reset index: 9)"}
	f.run("acl", "bootstrap").expect(t, 1, nil, []string{"bootstrapping access control: ACL bootstrap already done (reset index: 9) (HTTP 400)", "write 9 into acl-bootstrap-reset in"})
}

func TestACLUsageErrors(t *testing.T) {
	f := newFakeAgent(t, aclReplies())
	for args, want := range map[string]string{
		"acl policy apply -group g web x":                                                  "-group needs -job",
		"acl policy apply -job j -task t web x":                                            "-task needs -group",
		"acl token create":                                                                 "at least one -policy",
		"acl token create -type root":                                                      `"root" is not one of client, management`,
		"acl token create -type management -policy a":                                      "takes no policies",
		"acl token create -policy a -ttl -1s":                                              "-ttl must be positive",
		"acl token create -policy a -ttl 0s":                                               "-ttl must be positive",
		"acl token create -policy a -ttl 1h -expires-at 2999-01-01":                        "exclude each other",
		"acl token create -policy a -expires-at tomorrow":                                  "is not a time such as",
		"acl token create -policy a -expires-at 2020-01-01T00:00:00Z":                      "2020-01-01T00:00:00Z is over",
		"acl token update " + testAccessor:                                                 "nothing to change: give -name",
		"acl role update r1":                                                               "nothing to change: give -name",
		"acl auth-method update gh":                                                        "nothing to change: give -max-token-ttl",
		"acl binding-rule update b1":                                                       "nothing to change: give -bind-type",
		"acl token info":                                                                   "too few arguments",
		"acl role create -policy a":                                                        "-name is missing",
		"acl role create -name a":                                                          "at least one -policy",
		"acl auth-method create -type JWT":                                                 "-name is missing",
		"acl auth-method create -name a -type x":                                           "-type",
		"acl auth-method create -name a -type JWT":                                         "-token-locality",
		"acl auth-method create -name a -type JWT -token-locality local":                   "-max-token-ttl",
		"acl auth-method create -name a -type JWT -token-locality local -max-token-ttl 1h": "-config is missing",
		"acl binding-rule create -bind-type role":                                          "-auth-method is missing",
		"acl binding-rule create -auth-method a -bind-type x":                              "-bind-type",
		"acl binding-rule create -auth-method a -bind-type role":                           "-bind-name is missing",
		"acl binding-rule create -auth-method a -bind-type management -bind-name x":        "does not go with management",
		"acl explain read":                                                                 "too few arguments",
		"acl explain -accessor a -policy b read agent":                                     "-accessor excludes",
		"acl explain read agent x y":                                                       `"y" was not expected`,
		"acl policy test x.hcl":                                                            "nothing is expected",
		"login -type saml":                                                                 "is not one of OIDC, JWT",
		"login -export -json":                                                              "cannot be combined",
	} {
		r := f.run(strings.Fields(args)...)
		r.expect(t, 1, nil, []string{"error: ", want, " -h` for help"})
	}
	for _, line := range f.asked() {
		t.Errorf("asked the agent: %s", line)
	}
}

func TestACLExplain(t *testing.T) {
	f := newFakeAgent(t, map[string]reply{"PUT /v1/acl/explain": {body: map[string]any{
		"Allowed": false, "Reason": "denied: because", "Rules": []map[string]any{{"Policy": "web", "Line": 3, "Rule": `namespace "a*"`, "Effect": "deny"}},
		"Overruled": []map[string]any{{"Policy": "base", "Line": 1, "Rule": `namespace "*"`, "Effect": "allow"}}}}})
	rules := write(t, "new.hcl", "agent {}")
	for _, tc := range []struct{ args, body string }{
		{"acl explain read variables shop app/db", `{"Kind":"variables","Namespace":"shop","Name":"app/db","Capability":"read"}`},
		{"acl explain read variables app/db", `{"Kind":"variables","Namespace":"default","Name":"app/db","Capability":"read"}`},
		{"acl explain -namespace n read variables app/db", `{"Kind":"variables","Namespace":"n","Name":"app/db","Capability":"read"}`},
		{"acl explain -accessor a write operator", `{"AccessorID":"a","Kind":"operator","Capability":"write"}`},
		{"acl explain -policy p -rules RULES submit-job namespace shop", `{"Policies":["p"],"Rules":["agent {}"],"Kind":"namespace","Name":"shop","Capability":"submit-job"}`},
	} {
		args := strings.Fields(tc.args)
		if i := slices.Index(args, "RULES"); i >= 0 {
			args[i] = rules
		}
		f.run(args...).expect(t, 0, []string{"denied: because\n", "web     3     namespace \"a*\"  deny", "overruled", "base"}, nil)
		if got := f.last().body; got != tc.body {
			t.Errorf("%s sent %s", tc.args, got)
		}
	}
	f.replies["PUT /v1/acl/explain"] = reply{body: map[string]any{"Reason": "denied: no rule", "MissingPolicies": []string{"gone"}, "MissingRoles": []string{"r9"}}}
	f.run("acl", "explain", "read", "agent").expect(t, 0, []string{"the policy gone of the token does not exist", "the role r9 of the token does not exist"}, nil)
	f.run("acl", "explain", "-t", "{{.MissingPolicies}}", "read", "agent").expect(t, 0, []string{"[gone]"}, nil)
	f.run("acl", "explain", "-t", "{{.Allowed}}", "read", "agent").expect(t, 0, []string{"false\n"}, nil)
}

func TestACLPolicyLint(t *testing.T) {
	good := write(t, "good.hcl", `agent { policy = "read" }`)
	odd := write(t, "odd.hcl", "namespace \"a\" {\n  policy = \"deny\"\n  capabilities = [\"read-job\"]\n}\n")
	bad := write(t, "bad.hcl", "agent {\n  polcy = \"read\"\n}\nnope {}\n")
	lint := func(args ...string) result {
		return invocation{}.run(append([]string{"acl", "policy", "lint"}, args...)...)
	}
	lint(good).expect(t, 0, []string{"1 policy checked, 0 warnings"}, nil)
	lint(good, odd).expect(t, 0, []string{"odd.hcl:1:11: warning: ", "2 policies checked, 1 warning\n"}, nil)
	lint("-strict", odd).expect(t, 1, []string{"warning"}, []string{"1 problem found"})
	lint(bad).expect(t, 1, []string{"bad.hcl:2:3: error: unknown key \"polcy\"", "nope"}, []string{" problems found"})
	lint("-json", odd).expect(t, 0, []string{`"Level": "warning"`, `"Line": 1`}, nil)
	lint(write(t, "utf.hcl", "\xff")).expect(t, 1, []string{"utf.hcl: error: the policy is not valid UTF-8"}, []string{"1 problem found"})
	lint("missing.hcl").expect(t, 1, nil, []string{"no such file"})
}

func TestACLPolicyTest(t *testing.T) {
	base := write(t, "base.hcl", "namespace \"*\" {\n  policy = \"read\"\n  variables {\n    path \"app/*\" {\n      capabilities = [\"read\"]\n    }\n  }\n}\n")
	deny := write(t, "deny.hcl", `namespace "prod" { policy = "deny" }`)
	cases := write(t, "x.cases", "# what we promise\nallow read-job namespace shop\n\ndeny read-job namespace prod\nallow read variables app/db\n")
	run := func(args ...string) result {
		return invocation{}.run(append([]string{"acl", "policy", "test"}, args...)...)
	}
	run("-cases", cases, base, deny).expect(t, 0, []string{"ok    allow read-job namespace shop: allowed: ", "ok    deny read-job namespace prod"}, nil)
	run("-cases", cases, base).expect(t, 1, []string{"FAIL  deny read-job namespace prod: allowed: "}, []string{"1 of 3 expectations failed"})
	run("-json", "-expect", "deny write operator", base).expect(t, 0, []string{`"Pass": true`, `"Allowed": false`}, nil)
	run("-expect", "maybe write operator", base).expect(t, 1, nil, []string{"does not begin with allow or deny"})
	run("-expect", "allow fly operator", base).expect(t, 1, nil, []string{"unknown capability"})
	run("-expect", "allow", base).expect(t, 1, nil, []string{"an operation is"})
	run("-expect", "allow read agent", write(t, "bad.hcl", "agent {")).expect(t, 1, nil, []string{"bad.hcl: "})
}

func TestACLAuthConfigRefusesUnknownKeys(t *testing.T) {
	for src, want := range map[string]string{
		`{"BoundAudience":["x"]}`: `unknown key "BoundAudience"`, `[]`: "cannot unmarshal", `null`: "must be a JSON object",
		`{} {}`: "something follows", `{"ClockSkewLeeway":"soon"}`: "soon", ``: "EOF",
	} {
		if _, err := parseAuthConfig([]byte(src), "c.json"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", src, err, want)
		}
	}
	if c, err := parseAuthConfig([]byte(`{"boundaudiences":["x"]}`), "c"); err != nil || len(c.BoundAudiences) != 1 {
		t.Errorf("%+v %v", c, err)
	}
}

func TestACLCompletion(t *testing.T) {
	f := newFakeAgent(t, aclReplies())
	opts := &Options{Getenv: func(n string) string { return map[string]string{"CAIRN_ADDR": f.URL}[n] }, Stdout: io.Discard}
	for name, want := range map[string]string{
		"acl policy info": "web", "acl token info": testAccessor, "acl role info": "r1", "acl auth-method info": "gh",
		"acl binding-rule info": "b1", "acl explain": "variables",
	} {
		i := slices.IndexFunc(registry, func(e entry) bool { return e.name == name })
		r := &runner{entry: registry[i], act: registry[i].new(), opts: opts}
		if got := r.AutocompleteArgs().Predict(complete.Args{}); !slices.Contains(got, want) {
			t.Errorf("%s completes %q", name, got)
		}
	}
}

func FuzzJudge(f *testing.F) {
	f.Add("allow read variables a b")
	f.Add("deny x")
	rights := mustRights(f)
	f.Fuzz(func(_ *testing.T, text string) { _, _ = judge(rights, text) })
}
