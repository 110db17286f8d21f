package command

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"
)

// aclTokenPrune deletes tokens that nobody uses.
type aclTokenPrune struct {
	unused                    string
	dryRun, force, management bool
}

func (*aclTokenPrune) about() about {
	return about{
		synopsis: "delete tokens that nobody uses",
		usage:    "-unused <age> [options]",
		text: "Deletes the tokens that were made longer ago than the age and not used since. The servers remember uses in their memory, to the minute," +
			" and tell each other; they forget when all of them are stopped at once. As long as they do not remember the whole age, or one of them is not heard, nothing is deleted." +
			" Management tokens, tokens that are valid in all regions where there are several, and the token of the command itself are kept.",
		examples: [][2]string{
			{"What would go?", "cairn acl token prune -unused 90d -dry-run"},
			{"Delete it", "cairn acl token prune -unused 90d"},
		},
		groups: withAgent | withData,
	}
}

func (c *aclTokenPrune) flags(f *flags) {
	f.text(&c.unused, "unused", "age", "Delete what was not used for so long, such as 90d or 12h; at least 1h.")
	f.boolean(&c.dryRun, "dry-run", "Show what would be deleted, and delete nothing.")
	f.boolean(&c.management, "management", "Delete management tokens too.")
	f.boolean(&c.force, "force", "Take a token that the servers remember no use of for unused, however long they remember, and delete tokens that are valid in all regions too.")
}

// prunedToken is a token that goes.
type prunedToken struct {
	AccessorID, Name, Type string
	CreateTime             time.Time
	LastUsedTime           *time.Time `json:",omitempty"`
	Deleted                bool
}

func (c *aclTokenPrune) run(s *session, _ []string) error {
	age, err := parseAge(c.unused)
	if err != nil {
		return err
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	cutoff := time.Now().Add(-age)
	if err := c.checkMemory(s, client, cutoff); err != nil {
		return err
	}
	chosen, err := c.choose(s, client, cutoff)
	if err != nil {
		return err
	}
	for _, t := range chosen {
		if c.dryRun {
			continue
		}
		if _, err := client.ACLTokens().Delete(t.AccessorID, s.write()); err != nil {
			return failed("deleting token "+clean(t.AccessorID), err)
		}
		t.Deleted = true
	}
	return s.show(chosen, func() {
		table := newTable("Accessor ID", "Name", "Type", "Created", "Last used", "Deleted")
		for _, t := range chosen {
			table.add(t.AccessorID, orNone(t.Name), t.Type, wallTime(t.CreateTime), lastUse(t.LastUsedTime), yesNo(t.Deleted))
		}
		s.print(table, "no token is unused for so long")
	})
}

// checkMemory refuses to go on where the servers cannot know what was used since the cutoff.
func (c *aclTokenPrune) checkMemory(s *session, client *api.Client, cutoff time.Time) error {
	var usage tokenUsage
	if _, err := client.Raw().Query("/v1/acl/tokens/usage", &usage, s.query()); err != nil {
		return failed("asking which tokens were used", err)
	}
	var why string
	switch {
	case len(usage.NotHeard) > 0:
		why = "the agent's server has not heard lately which tokens were used at " + clean(strings.Join(usage.NotHeard, ", "))
	case usage.Since.After(cutoff):
		why = "the servers remember uses since " + wallTime(usage.Since) + " only"
	default:
		return nil
	}
	if c.force || c.dryRun {
		s.warn("%s: tokens may be in use that seem unused", why)
		return nil
	}
	return hinted(fmt.Errorf("%s", why), "wait, choose a shorter -unused, or give -force if you know better")
}

// choose returns the tokens that were not used since the cutoff.
func (c *aclTokenPrune) choose(s *session, client *api.Client, cutoff time.Time) ([]*prunedToken, error) {
	self, err := fetchTokenInfo(client, "self", s.query())
	if err != nil {
		return nil, failed("reading the token of this command", err)
	}
	regions, err := client.Regions().List()
	if err != nil {
		return nil, failed("listing the regions", err)
	}
	list, err := fetchTokens(client, s.query())
	if err != nil {
		return nil, failed("listing tokens", err)
	}
	chosen := []*prunedToken{}
	for _, t := range list {
		used := t.LastUsedTime != nil && t.LastUsedTime.After(cutoff)
		kept := t.AccessorID == self.AccessorID || t.Type == "management" && !c.management || t.Global && len(regions) > 1 && !c.force
		if !used && !kept && t.CreateTime.Before(cutoff) {
			chosen = append(chosen, &prunedToken{t.AccessorID, t.Name, t.Type, t.CreateTime, t.LastUsedTime, false})
		}
	}
	return chosen, nil
}

// parseAge reads a duration that may be in days, such as 90d.
func parseAge(text string) (time.Duration, error) {
	const bad = "-unused must be an age such as 90d or 12h, at least 1h"
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 1 || n > 36500 {
			return 0, usagef(bad)
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	age, err := time.ParseDuration(text)
	if err != nil || age < time.Hour {
		return 0, usagef(bad)
	}
	return age, nil
}
