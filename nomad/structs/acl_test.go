package structs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/nomad/api"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/msgp"
)

func init() {
	copiers = append(copiers, &ACLPolicy{}, &JobACL{}, &ACLToken{}, &OneTimeToken{}, &ACLRole{}, &ACLAuthMethod{},
		&ACLAuthMethodConfig{}, &OIDCClientAssertion{}, &ACLBindingRule{})
}

const (
	uuid1 = "5b7d1b4e-0000-4000-8000-000000000001"
	uuid2 = "5B7D1B4E-0000-4000-8000-00000000000A"
)

// fields returns the fields of the errata of an invalid error, nil for no error.
func fields(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	var e *errs.Error
	if !errors.As(err, &e) || e.Code != errs.Invalid {
		t.Fatalf("%v is not invalid", err)
	}
	out := []string{}
	for _, x := range e.Errata {
		out = append(out, x.Field)
		if !strings.Contains(err.Error(), x.Msg) {
			t.Errorf("%q does not tell %q", err, x.Msg)
		}
	}
	return out
}

func TestACLPolicyValidate(t *testing.T) {
	for _, c := range []struct {
		p    ACLPolicy
		want []string
	}{
		{ACLPolicy{Name: "a", Rules: "x", Description: strings.Repeat("ü", 256)}, nil},
		{ACLPolicy{Name: "a", Rules: "x", JobACL: &JobACL{"ns", "job", "group", "task"}}, nil},
		{ACLPolicy{Name: "a", Rules: "x", JobACL: &JobACL{Namespace: "ns"}}, nil},
		{ACLPolicy{Name: "a_b", Description: strings.Repeat("x", 257), JobACL: &JobACL{Group: "g"}},
			[]string{"Name", "Description", "Rules", "JobACL.Namespace", "JobACL.JobID"}},
		{ACLPolicy{Name: "a", Rules: strings.Repeat("x", maxACLRules+1), JobACL: &JobACL{"ns", "j", "", "t"}}, []string{"Rules", "JobACL.Group"}},
	} {
		if diff := cmp.Diff(c.want, fields(t, c.p.Validate())); diff != "" {
			t.Errorf("%.80v:\n%s", c.p, diff)
		}
	}
}

func TestACLTokenValidate(t *testing.T) {
	now := time.Unix(1000, 0).UTC()
	at := func(d time.Duration) *time.Time { x := now.Add(d); return &x }
	client := func(f func(*ACLToken)) ACLToken {
		x := ACLToken{Type: ACLClientToken, Policies: []string{"p"}}
		if f != nil {
			f(&x)
		}
		return x
	}
	stored := client(func(x *ACLToken) {
		x.AccessorID, x.SecretID, x.ExpirationTTL, x.ExpirationTime = uuid1, uuid2, time.Hour, at(time.Hour)
	})
	for _, c := range []struct {
		name     string
		token    ACLToken
		existing *ACLToken
		want     []string
	}{
		{"client", client(nil), nil, nil},
		{"client with role", ACLToken{Type: ACLClientToken, Roles: []*ACLTokenRoleLink{{Name: "r"}, {ID: uuid1}}}, nil, nil},
		{"management", ACLToken{Type: ACLManagementToken}, nil, nil},
		{"no type", ACLToken{}, nil, []string{"Type"}},
		{"client without rights", ACLToken{Type: ACLClientToken}, nil, []string{"Policies"}},
		{"management with policy", ACLToken{Type: ACLManagementToken, Policies: []string{"p"}}, nil, []string{"Policies"}},
		{"bad links", ACLToken{Type: ACLClientToken, Policies: []string{"a b"}, Roles: []*ACLTokenRoleLink{nil, {}, {ID: "x"}}}, nil,
			[]string{"Policies", "Roles", "Roles", "Roles"}},
		{"long name", client(func(x *ACLToken) { x.Name = strings.Repeat("x", 257) }), nil, []string{"Name"}},
		{"own IDs", client(func(x *ACLToken) { x.AccessorID, x.SecretID = uuid1, uuid2 }), nil, nil},
		{"own accessor", client(func(x *ACLToken) { x.AccessorID = uuid1 }), nil, []string{"AccessorID"}},
		{"same IDs", client(func(x *ACLToken) { x.AccessorID, x.SecretID = uuid1, uuid1 }), nil, []string{"SecretID"}},
		{"own IDs, management", ACLToken{Type: ACLManagementToken, AccessorID: uuid1, SecretID: uuid2}, nil, []string{"AccessorID"}},
		{"TTL", client(func(x *ACLToken) { x.ExpirationTTL = time.Minute }), nil, nil},
		{"short TTL", client(func(x *ACLToken) { x.ExpirationTTL = time.Second }), nil, []string{"ExpirationTTL"}},
		{"long TTL", client(func(x *ACLToken) { x.ExpirationTTL = 25 * time.Hour }), nil, []string{"ExpirationTTL"}},
		{"negative TTL", client(func(x *ACLToken) { x.ExpirationTTL = -1 }), nil, []string{"ExpirationTTL"}},
		{"time", client(func(x *ACLToken) { x.ExpirationTime = at(time.Hour) }), nil, nil},
		{"time past", client(func(x *ACLToken) { x.ExpirationTime = at(0) }), nil, []string{"ExpirationTTL"}},
		{"TTL and time", client(func(x *ACLToken) { x.ExpirationTime, x.ExpirationTTL = at(time.Hour), time.Hour }), nil, []string{"ExpirationTTL"}},
		{"update", client(func(x *ACLToken) { x.AccessorID = uuid1 }), &stored, nil},
		{"update, all the same", stored, &stored, nil},
		{"update of what cannot change", client(func(x *ACLToken) {
			x.AccessorID, x.SecretID, x.Global, x.ExpirationTTL = uuid1, uuid1, true, time.Minute
		}), &stored, []string{"SecretID", "Global", "ExpirationTime"}},
	} {
		if diff := cmp.Diff(c.want, fields(t, c.token.Validate(DefaultACLTokenLimits(), c.existing, now))); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
	}
}

func TestACLTokenExpiration(t *testing.T) {
	now := time.Unix(1000, 0)
	x := ACLToken{ExpirationTTL: time.Minute}
	x.SetExpiration(now)
	x.SetExpiration(now.Add(time.Hour))
	if !x.CreateTime.Equal(now) || !x.ExpirationTime.Equal(now.Add(time.Minute)) {
		t.Errorf("created %v, expires %v", x.CreateTime, x.ExpirationTime)
	}
	if x.IsExpired(now.Add(time.Minute-1)) || !x.IsExpired(now.Add(time.Minute)) || (&ACLToken{}).IsExpired(now) {
		t.Error("expires at the wrong time")
	}
}

func TestACLRequests(t *testing.T) {
	token := func(global bool) *ACLToken { return &ACLToken{Global: global} }
	rule := &ACLBindingRule{AuthMethod: "m", BindType: "management"}
	role := &ACLRole{Name: "r", Policies: []*ACLRolePolicyLink{{"p"}}}
	for _, c := range []struct {
		name string
		err  error
		ok   bool
	}{
		{"no policies", (&ACLPolicyUpsertRequest{}).Validate(), false},
		{"null policy", (&ACLPolicyUpsertRequest{Policies: []*ACLPolicy{nil}}).Validate(), false},
		{"policy", (&ACLPolicyUpsertRequest{Policies: []*ACLPolicy{{Name: "a", Rules: "x"}}}).Validate(), true},
		{"too many", (&ACLPolicyDeleteRequest{Names: make([]string, maxACLBatch+1)}).Validate(), false},
		{"mixed tokens", (&ACLTokenUpsertRequest{Tokens: []*ACLToken{token(true), token(false)}}).Validate(), false},
		{"global tokens", (&ACLTokenUpsertRequest{Tokens: []*ACLToken{token(true), token(true)}}).Validate(), true},
		{"null token", (&ACLTokenUpsertRequest{Tokens: []*ACLToken{nil}}).Validate(), false},
		{"bad accessor", (&ACLTokenDeleteRequest{AccessorIDs: []string{"x"}}).Validate(), false},
		{"accessor", (&ACLTokenDeleteRequest{AccessorIDs: []string{uuid2}}).Validate(), true},
		{"bootstrap", (&ACLTokenBootstrapRequest{}).Validate(), true},
		{"bootstrap secret", (&ACLTokenBootstrapRequest{BootstrapSecret: uuid1 + " "}).Validate(), false},
		{"role", (&ACLRolesUpsertRequest{ACLRoles: []*ACLRole{role}}).Validate(), true},
		{"role without policy", (&ACLRolesUpsertRequest{ACLRoles: []*ACLRole{{Name: "r"}}}).Validate(), false},
		{"role with null", (&ACLRolesUpsertRequest{ACLRoles: []*ACLRole{{Name: "r", Policies: []*ACLRolePolicyLink{nil}}}}).Validate(), false},
		{"rule", (&ACLBindingRulesUpsertRequest{ACLBindingRules: []*ACLBindingRule{rule}}).Validate(), true},
		{"login", (&ACLLoginRequest{AuthMethodName: "m", LoginToken: "t"}).Validate(), true},
		{"login without token", (&ACLLoginRequest{AuthMethodName: "m"}).Validate(), false},
		{"huge login", (&ACLLoginRequest{AuthMethodName: "m", LoginToken: strings.Repeat("x", maxLoginText+1)}).Validate(), false},
		{"explain", (&ACLExplainRequest{Kind: "agent", Capability: "read", Rules: []string{"x"}}).Validate(), true},
		{"explain both", (&ACLExplainRequest{Kind: "agent", Capability: "read", Rules: []string{"x"}, AccessorID: uuid1}).Validate(), false},
	} {
		if (c.err == nil) != c.ok || !c.ok && !errors.Is(c.err, errs.Invalid) {
			t.Errorf("%s: %v", c.name, c.err)
		}
	}
}

func TestACLBindingRuleValidate(t *testing.T) {
	for _, c := range []struct {
		r    ACLBindingRule
		want []string
	}{
		{ACLBindingRule{AuthMethod: "m", BindType: "role", BindName: "team-${value.team}", Selector: `"eng" in list.groups`}, nil},
		{ACLBindingRule{AuthMethod: "m", BindType: "management"}, nil},
		{ACLBindingRule{ID: "x", AuthMethod: "", BindType: "x"}, []string{"ID", "AuthMethod", "BindType"}},
		{ACLBindingRule{AuthMethod: "m", BindType: "policy"}, []string{"BindName"}},
		{ACLBindingRule{AuthMethod: "m", BindType: "management", BindName: "x"}, []string{"BindName"}},
		{ACLBindingRule{AuthMethod: "m", BindType: "policy", BindName: "${value.x"}, []string{"BindName"}},
		{ACLBindingRule{AuthMethod: "m", BindType: "policy", BindName: "${env.x}"}, []string{"BindName"}},
		{ACLBindingRule{AuthMethod: "m", BindType: "management", Selector: "value.x ="}, []string{"Selector"}},
		{ACLBindingRule{AuthMethod: "m", BindType: "management", Selector: strings.Repeat("(", 4000)}, []string{"Selector"}},
		{ACLBindingRule{AuthMethod: "m", BindType: "management", Selector: strings.Repeat("x", 5000)}, []string{"Selector"}},
	} {
		if diff := cmp.Diff(c.want, fields(t, c.r.Validate())); diff != "" {
			t.Errorf("%.80v:\n%s", c.r, diff)
		}
	}
}

func TestACLHashes(t *testing.T) {
	type hashed interface{ SetHash() []byte }
	for _, v := range []hashed{&ACLPolicy{}, &ACLToken{}, &ACLRole{}, &ACLAuthMethod{}, &ACLBindingRule{}} {
		val := reflect.ValueOf(v).Elem()
		fill(val, 1)
		first := v.SetHash()
		if len(first) != 32 || !bytes.Equal(first, v.SetHash()) {
			t.Fatalf("%T: hash %x is not stable", v, first)
		}
		for i := range val.NumField() {
			name := val.Type().Field(i).Name
			silent := strings.HasSuffix(name, "Index") || name == "Hash" || name == "CreateTime" || name == "ModifyTime" || name == "ExpirationTTL"
			before := reflect.New(val.Type()).Elem()
			before.Set(val)
			val.Field(i).SetZero()
			if changed := !bytes.Equal(first, v.SetHash()); changed == silent {
				t.Errorf("%T: hash changes with %s: %v", v, name, changed)
			}
			val.Set(before)
		}
	}
	m := ACLAuthMethod{Config: &ACLAuthMethodConfig{}}
	cfg := reflect.ValueOf(m.Config).Elem()
	fill(cfg, 1)
	first := m.SetHash()
	for i := range cfg.NumField() {
		before := *m.Config
		cfg.Field(i).SetZero()
		if bytes.Equal(first, m.SetHash()) {
			t.Errorf("hash does not change with %s", cfg.Type().Field(i).Name)
		}
		*m.Config = before
	}
	a, b := ACLPolicy{Name: "ab", Description: "c"}, ACLPolicy{Name: "a", Description: "bc"}
	if bytes.Equal(a.SetHash(), b.SetHash()) {
		t.Error("fields run together")
	}
}

// TestACLCodecs sends every object through MessagePack and JSON.
func TestACLCodecs(t *testing.T) {
	for _, v := range []any{&ACLPolicy{}, &ACLToken{}, &ACLRole{}, &ACLAuthMethod{}, &ACLBindingRule{}, &OneTimeToken{},
		&ACLTokenUpsertRequest{}, &ACLAuthMethodUpsertRequest{}, &ACLTokenBootstrapRequest{}, &OneTimeTokenExpireRequest{}, &ACLExplainResponse{}} {
		fill(reflect.ValueOf(v).Elem(), 1)
		raw, err := msgp.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out := reflect.New(reflect.TypeOf(v).Elem()).Interface()
		if err := msgp.Unmarshal(raw, out); err != nil {
			t.Fatalf("%T: %v", v, err)
		}
		if diff := cmp.Diff(v, out); diff != "" {
			t.Errorf("%T after MessagePack:\n%s", v, diff)
		}
		raw, err = json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out = reflect.New(reflect.TypeOf(v).Elem()).Interface()
		if err := json.Unmarshal(raw, out); err != nil {
			t.Fatalf("%T: %v", v, err)
		}
		if diff := cmp.Diff(v, out); diff != "" {
			t.Errorf("%T after JSON:\n%s", v, diff)
		}
	}
}

// TestACLFormsOfTheSDK reads what the SDK writes and the other way round.
func TestACLFormsOfTheSDK(t *testing.T) {
	for _, c := range []struct{ ours, theirs any }{
		{&ACLPolicy{}, &api.ACLPolicy{}}, {&ACLPolicyListStub{}, &api.ACLPolicyListStub{}},
		{&ACLToken{}, &api.ACLToken{}}, {&ACLTokenListStub{}, &api.ACLTokenListStub{}},
		{&ACLRole{}, &api.ACLRole{}}, {&ACLRoleListStub{}, &api.ACLRoleListStub{}},
		{&ACLAuthMethod{}, &api.ACLAuthMethod{}}, {&ACLAuthMethodListStub{}, &api.ACLAuthMethodListStub{}},
		{&ACLBindingRule{}, &api.ACLBindingRule{}}, {&ACLBindingRuleListStub{}, &api.ACLBindingRuleListStub{}},
		{&OneTimeToken{}, &api.OneTimeToken{}}, {&ACLOIDCCompleteAuthRequest{}, &api.ACLOIDCCompleteAuthRequest{}},
		{&ACLOIDCAuthURLRequest{}, &api.ACLOIDCAuthURLRequest{}}, {&ACLLoginRequest{}, &api.ACLLoginRequest{}},
		{&ACLCreateClientIntroductionTokenRequest{}, &api.ACLIdentityClientIntroductionTokenRequest{}},
	} {
		fill(reflect.ValueOf(c.theirs).Elem(), 1)
		raw, err := json.Marshal(c.theirs)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, c.ours); err != nil {
			t.Fatalf("%T: %v", c.ours, err)
		}
		back, err := json.Marshal(c.ours)
		if err != nil {
			t.Fatal(err)
		}
		again := reflect.New(reflect.TypeOf(c.theirs).Elem()).Interface()
		if err := json.Unmarshal(back, again); err != nil {
			t.Fatalf("%T: %v", c.theirs, err)
		}
		if diff := cmp.Diff(c.theirs, again); diff != "" {
			t.Errorf("%T loses:\n%s", c.ours, diff)
		}
	}
}

func TestACLDurationsInJSON(t *testing.T) {
	raw, err := json.Marshal(ACLToken{ExpirationTTL: time.Hour})
	if err != nil || !strings.Contains(string(raw), `"ExpirationTTL":"1h0m0s"`) {
		t.Errorf("%s, %v", raw, err)
	}
	for src, want := range map[string]time.Duration{`"90s"`: 90 * time.Second, `5000000000`: 5 * time.Second, `""`: 0, `null`: 0} {
		var x ACLToken
		var m ACLAuthMethod
		if err := json.Unmarshal([]byte(`{"ExpirationTTL":`+src+`}`), &x); err != nil || x.ExpirationTTL != want {
			t.Errorf("%s: %v, %v", src, x.ExpirationTTL, err)
		}
		if err := json.Unmarshal([]byte(`{"MaxTokenTTL":`+src+`,"Config":{"ClockSkewLeeway":`+src+`}}`), &m); err != nil ||
			m.MaxTokenTTL != want || m.Config.ClockSkewLeeway != want {
			t.Errorf("%s: %v, %v", src, m, err)
		}
	}
	for _, src := range []string{`"x"`, `true`, `1e300`, `{}`} {
		var x ACLToken
		if err := json.Unmarshal([]byte(`{"ExpirationTTL":`+src+`}`), &x); err == nil {
			t.Errorf("%s was taken", src)
		}
	}
}

func TestACLSecretsStayOutOfText(t *testing.T) {
	token, once := ACLToken{AccessorID: "a", SecretID: "hidden"}, OneTimeToken{AccessorID: "a", OneTimeSecretID: "hidden"}
	method := ACLAuthMethod{Name: "a", Config: &ACLAuthMethodConfig{OIDCClientSecret: "hidden"}}
	for _, v := range []any{token, &token, once, &once, method, &method, []*ACLToken{&token}, token.Redacted()} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			if text := fmt.Sprintf(verb, v); strings.Contains(text, "hidden") {
				t.Errorf("%s of %T shows the secret: %s", verb, v, text)
			}
		}
	}
	if token.SecretID != "hidden" || token.Redacted().SecretID != "" {
		t.Error("redaction changed the token, or nothing")
	}
	if stub, _ := json.Marshal(token.Stub()); bytes.Contains(stub, []byte("hidden")) {
		t.Error("a list shows the secret")
	}
}
