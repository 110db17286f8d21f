package command

import (
	"strings"
	"testing"
	"time"
)

func pruneReplies(now time.Time, since time.Duration, silent ...string) map[string]reply {
	ago := func(d time.Duration) string { return now.Add(-d).UTC().Format(time.RFC3339) }
	const day = 24 * time.Hour
	token := func(id, kind string, made time.Duration, used string, global bool) map[string]any {
		t := map[string]any{"AccessorID": id, "Name": id, "Type": kind, "CreateTime": ago(made), "Global": global}
		if used != "" {
			t["LastUsedTime"] = used
		}
		return t
	}
	return map[string]reply{
		"GET /v1/acl/tokens/usage": {body: map[string]any{"Since": ago(since), "NotHeard": silent}},
		"GET /v1/acl/token/self":   {body: map[string]any{"AccessorID": "self", "Type": "client"}},
		"GET /v1/regions":          {body: []string{"global", "west"}},
		"GET /v1/acl/tokens": {body: []map[string]any{
			token("self", "client", 200*day, "", false),
			token("never", "client", 200*day, "", false),
			token("long-ago", "client", 200*day, ago(100*day), false),
			token("lately", "client", 200*day, ago(80*day), false),
			token("new", "client", day, "", false),
			token("root", "management", 200*day, "", false),
			token("everywhere", "client", 200*day, "", true),
		}},
		"DELETE /v1/acl/token/never": {}, "DELETE /v1/acl/token/long-ago": {}, "DELETE /v1/acl/token/root": {}, "DELETE /v1/acl/token/everywhere": {},
	}
}

func TestPruneDeletesWhatIsSurelyUnused(t *testing.T) {
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		line    string
		since   time.Duration
		silent  []string
		code    int
		deleted string
		says    string
	}{
		"unused":           {"-unused 90d", 91 * day, nil, 0, "never long-ago", "long-ago"},
		"dry run":          {"-unused 90d -dry-run", 91 * day, nil, 0, "", "never"},
		"dry run too soon": {"-unused 90d -dry-run", day, nil, 0, "", "the servers remember uses since"},
		"too soon":         {"-unused 90d", 89 * day, nil, 1, "", "the servers remember uses since"},
		"silent":           {"-unused 90d", 91 * day, []string{"s2.global"}, 1, "", "s2.global"},
		"forced":           {"-unused 90d -force", day, nil, 0, "never long-ago everywhere", ""},
		"management":       {"-unused 90d -management", 91 * day, nil, 0, "never long-ago root", ""},
		"json":             {"-unused 2160h -json", 91 * day, nil, 0, "never long-ago", `"Deleted": true`},
		"no age":           {"", 91 * day, nil, 1, "", "-unused must be an age"},
		"no number":        {"-unused xd", 91 * day, nil, 1, "", "-unused must be an age"},
		"too short":        {"-unused 5m", 91 * day, nil, 1, "", "-unused must be an age"},
		"negative":         {"-unused=-1d", 91 * day, nil, 1, "", "-unused must be an age"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeAgent(t, pruneReplies(time.Now(), c.since, c.silent...))
			r := f.run(strings.Fields("acl token prune " + c.line)...)
			if out := r.stdout + r.stderr; r.code != c.code || !strings.Contains(out, c.says) {
				t.Errorf("exit code %d, want %d\n%s", r.code, c.code, out)
			}
			var deleted []string
			for _, line := range f.asked() {
				if id, ok := strings.CutPrefix(line, "DELETE /v1/acl/token/"); ok {
					deleted = append(deleted, id)
				}
			}
			if got := strings.Join(deleted, " "); got != c.deleted {
				t.Errorf("deleted %q, want %q", got, c.deleted)
			}
		})
	}
}
