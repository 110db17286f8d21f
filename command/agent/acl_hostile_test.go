package agent

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	sdkapi "github.com/hashicorp/nomad/api"
)

// policyBody is the body that writes rules as the policy p.
func policyBody(t *testing.T, rules string) string {
	t.Helper()
	b, err := json.Marshal(map[string]string{"Name": "p", "Rules": rules})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// globs returns n namespace rules whose labels have so many stars.
func globs(n, stars int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "namespace \"%sb%d\" { policy = \"read\" }\n", strings.Repeat("a*", stars), i)
	}
	return b.String()
}

func TestBadPoliciesAreRefusedWithAReason(t *testing.T) {
	a, client := aclAgent(t, aclOn)
	g := &guarded{t: t, client: client, url: "http://" + a.HTTPAddr()}
	root := g.bootstrap().SecretID
	for name, bad := range map[string]struct {
		body   string
		status int
		text   string
	}{
		"malformed":          {policyBody(t, `namespace "a" {`), 400, "line 1"},
		"not HCL":            {policyBody(t, "\x00\xff"), 400, ""},
		"unknown block":      {policyBody(t, "\nnamespce \"a\" { policy = \"read\" }"), 400, "line 2"},
		"unknown key":        {policyBody(t, `namespace "a" { polcy = "read" }`), 400, "polcy"},
		"unknown word":       {policyBody(t, `namespace "a" { policy = "rwad" }`), 400, "rwad"},
		"unknown capability": {policyBody(t, `namespace "a" { capabilities = ["fly"] }`), 400, "fly"},
		"given twice":        {policyBody(t, "agent { policy = \"read\" }\nagent { policy = \"write\" }"), 400, "line 2"},
		"malformed JSON":     {policyBody(t, "{\n  \"agent\": {\"policy\": \n}"), 400, "line 3"},
		"unknown JSON key":   {policyBody(t, "{\n  \"agent\": {\"polcy\": \"read\"}\n}"), 400, "line 2"},
		"endless glob":       {policyBody(t, `namespace "default" { variables { path "`+strings.Repeat("*a", 3000)+`" { capabilities = ["read"] } } }`), 400, "must be 1 to 128"},
		"no rules":           {policyBody(t, ""), 400, ""},
		"deep":               {policyBody(t, strings.Repeat("a {", 20000)), 400, ""},
		"10 MB":              {policyBody(t, "# "+strings.Repeat("x", 10<<20)), 413, "larger than the limit"},
		"900 kB":             {policyBody(t, "# "+strings.Repeat("x", 900<<10)), 400, ""},
		"many globs":         {policyBody(t, globs(1, 40)), 400, "more than 16 stars"},
		"too many rules":     {policyBody(t, globs(15000, 5)), 400, ""},
		"no object":          {`[]`, 400, "JSON"},
		"no JSON":            {`{"Name": "p", `, 400, "JSON"},
	} {
		if status, body := g.request("PUT", "/v1/acl/policy/p", bad.body, root); status != bad.status || !strings.Contains(body, bad.text) || len(body) > 1000 {
			t.Errorf("%s: %d %.1000q, want %d with %q", name, status, body, bad.status, bad.text)
		}
	}
	// What a policy may hold at most is asked for as fast as anything else.
	g.policy("stars", globs(100, 16))
	made, _, err := client.ACLTokens().Create(&sdkapi.ACLToken{Type: "client", Policies: []string{"stars"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if status, body := g.request("GET", "/v1/namespace/"+strings.Repeat("a", 127)+"c", "", made.SecretID); status != 403 {
		t.Errorf("a name that no glob matches: %d %s", status, body)
	}
}

// TestNoSecretIsLogged runs a session that touches every secret and looks for all of them in a log of everything.
func TestNoSecretIsLogged(t *testing.T) {
	log := newSyncBuffer()
	a, client := aclAgentLogging(t, aclOn, hclog.New(&hclog.LoggerOptions{Output: log, Level: hclog.Trace}))
	g := &guarded{t: t, client: client, url: "http://" + a.HTTPAddr(), secrets: map[string]string{}}
	secrets := map[string]string{"bootstrap": uuid.NewString(), "expired": "", "unknown": uuid.NewString(), "client secret": "hush-hush-client-secret", "variable": "hush-hush-variable"}
	root, _, err := client.ACLTokens().BootstrapOpts(secrets["bootstrap"], nil)
	if err != nil || root.SecretID != secrets["bootstrap"] {
		t.Fatal(root, err)
	}
	client.SetSecretID(root.SecretID)
	secrets["client"] = g.token(`namespace "default" { policy = "write" }`)
	once, _, err := client.ACLTokens().UpsertOneTimeToken(nil)
	if err != nil {
		t.Fatal(err)
	}
	secrets["one-time"] = once.OneTimeSecretID
	idp := newIssuer(t)
	secrets["JWT"], secrets["bad JWT"] = idp.token(nil), newIssuer(t).token(nil)
	for _, m := range []*sdkapi.ACLAuthMethod{
		{Name: "ci", Type: "JWT", Config: &sdkapi.ACLAuthMethodConfig{JWTValidationPubKeys: []string{idp.pem()}, BoundAudiences: []string{"cairn"}, VerboseLogging: true}},
		{Name: "sso", Type: "OIDC", Config: &sdkapi.ACLAuthMethodConfig{OIDCDiscoveryURL: "https://127.0.0.1:1", OIDCClientID: "c",
			OIDCClientSecret: secrets["client secret"], AllowedRedirectURIs: []string{redirect}, VerboseLogging: true}},
	} {
		m.TokenLocality, m.MaxTokenTTL = "local", time.Hour
		if _, _, err := client.ACLAuthMethods().Create(m, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := client.ACLBindingRules().Create(&sdkapi.ACLBindingRule{AuthMethod: "ci", BindType: "management"}, nil); err != nil {
		t.Fatal(err)
	}
	token, _, err := client.ACLAuth().Login(&sdkapi.ACLLoginRequest{AuthMethodName: "ci", LoginToken: secrets["JWT"]}, nil)
	if err != nil {
		t.Fatal(err)
	}
	secrets["login"] = token.SecretID
	if _, _, err := client.Variables().Create(&sdkapi.Variable{Path: "a", Items: sdkapi.VariableItems{"k": secrets["variable"]}}, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := client.ACLTokens().ExchangeOneTimeToken(secrets["one-time"], nil); err != nil {
		t.Error(err)
	}
	for _, r := range routes() { // every route, by everybody, with bodies of every kind
		for _, method := range strings.Fields(r.methods) {
			target, _, cut := strings.Cut(r.pattern, "{")
			if cut {
				target += "x"
			}
			for _, by := range secrets {
				for _, body := range []string{"", `{"LoginToken": "` + secrets["bad JWT"] + `", "AuthMethodName": "ci"}`, `{"SecretID": ` + secrets["client"]} {
					if method == "DELETE" || strings.HasSuffix(r.pattern, "/bootstrap") {
						body = ""
					}
					g.request(method, target, body, by)
				}
			}
		}
	}
	text := log.String()
	for what, secret := range secrets {
		if secret != "" && strings.Contains(text, secret) {
			at := strings.Index(text, secret)
			t.Errorf("the %s is in the log: ...%s", what, text[max(0, at-200):at])
		}
	}
	if !strings.Contains(text, "permission denied") || !strings.Contains(text, "made the first management token") {
		t.Errorf("the log says nothing of the session:\n%.2000s", text)
	}
}
