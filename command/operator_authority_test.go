package command

import "testing"

func TestAuthorityCommands(t *testing.T) {
	row := map[string]any{"ID": "ab12", "Phase": "next", "CreateTime": "2030-01-01T00:00:00Z", "Until": "2030-01-04T00:00:00Z", "NotAfter": "2040-01-01T00:00:00Z"}
	f := newFakeAgent(t, map[string]reply{
		"GET /v1/operator/authorities":      {body: []any{row}},
		"PUT /v1/operator/authority/rotate": {body: row},
	})
	f.run("operator", "authority", "status").expect(t, 0, []string{"Fingerprint  Phase  Phase Ends", "ab12         next   2030-01-04T00:00:00Z  2030-01-01T00:00:00Z  2040-01-01T00:00:00Z"}, nil)
	f.run("operator", "authority", "rotate").expect(t, 0, []string{"Fingerprint = ab12", "Signs From  = 2030-01-04T00:00:00Z"}, nil)
	f = newFakeAgent(t, map[string]reply{
		"GET /v1/operator/authorities":      {body: []any{}},
		"PUT /v1/operator/authority/rotate": {status: 409, body: "another authority (ab12) is about to take over already"},
	})
	f.run("operator", "authority", "status").expect(t, 0, []string{"auto = true"}, nil)
	f.run("operator", "authority", "rotate").expect(t, 1, nil, []string{"about to take over already"})
}
