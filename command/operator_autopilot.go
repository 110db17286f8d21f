package command

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"
)

// autopilotGet shows the settings of autopilot.
type autopilotGet struct{}

func (*autopilotGet) about() about {
	return about{
		synopsis: "show autopilot settings",
		usage:    "[options]",
		text:     "Shows when a server counts as healthy, and which dead ones the leader takes out of Raft.",
		examples: [][2]string{{"Show them", "cairn operator autopilot get-config"}},
		groups:   withAgent | withData,
	}
}

func (*autopilotGet) flags(*flags) {}

func (*autopilotGet) run(s *session, _ []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	conf, _, err := client.Operator().AutopilotGetConfiguration(s.query())
	if err != nil {
		return failed("reading the settings of autopilot", err)
	}
	return s.show(conf, func() {
		s.pairs(
			[2]string{"Cleanup Dead Servers", yesNo(conf.CleanupDeadServers)},
			[2]string{"Min Quorum", strconv.FormatUint(uint64(conf.MinQuorum), 10)},
			[2]string{"Server Stabilization Time", conf.ServerStabilizationTime.String()},
			[2]string{"Last Contact Threshold", conf.LastContactThreshold.String()},
			[2]string{"Max Trailing Logs", strconv.FormatUint(conf.MaxTrailingLogs, 10)},
			[2]string{"Modify Index", index(conf.ModifyIndex)},
		)
	})
}

// autopilotSet changes some settings of autopilot.
type autopilotSet struct {
	asked api.AutopilotConfiguration
	// quorum is MinQuorum, in the type of options.
	quorum uint64
	given  func(string) bool
}

func (*autopilotSet) about() about {
	return about{
		synopsis: "change autopilot settings",
		usage:    "[options]",
		text: "Changes the settings that are given and leaves the others. " +
			"A dead server is removed only while more voters than -min-quorum are there, the dead included: with 3, three servers of which one dies stay three until another has joined.",
		examples: [][2]string{
			{"Keep dead servers", "cairn operator autopilot set-config -cleanup-dead-servers=false"},
			{"Leave five alone", "cairn operator autopilot set-config -min-quorum 5"},
		},
		exits:  []exit{{exitConflict, "somebody else changed the settings at the same time"}},
		groups: withAgent,
	}
}

func (c *autopilotSet) flags(f *flags) {
	a := &c.asked
	f.boolean(&a.CleanupDeadServers, "cleanup-dead-servers", "Whether dead servers are removed; =false keeps them.")
	f.number(&c.quorum, "min-quorum", "voters", "How many voters must remain when one is removed.")
	f.duration(&a.ServerStabilizationTime, "server-stabilization-time", "How long a server must have been dead before it is removed.")
	f.duration(&a.LastContactThreshold, "last-contact-threshold", "How long a healthy server may be without word of the leader.")
	f.number(&a.MaxTrailingLogs, "max-trailing-logs", "entries", "How many entries of the log a healthy server may be behind.")
	c.given = f.given
}

func (c *autopilotSet) run(s *session, _ []string) error {
	changes := map[string]func(*api.AutopilotConfiguration){
		"cleanup-dead-servers":      func(to *api.AutopilotConfiguration) { to.CleanupDeadServers = c.asked.CleanupDeadServers },
		"min-quorum":                func(to *api.AutopilotConfiguration) { to.MinQuorum = uint(c.quorum) },
		"server-stabilization-time": func(to *api.AutopilotConfiguration) { to.ServerStabilizationTime = c.asked.ServerStabilizationTime },
		"last-contact-threshold":    func(to *api.AutopilotConfiguration) { to.LastContactThreshold = c.asked.LastContactThreshold },
		"max-trailing-logs":         func(to *api.AutopilotConfiguration) { to.MaxTrailingLogs = c.asked.MaxTrailingLogs },
	}
	for name := range changes {
		if !c.given(name) {
			delete(changes, name)
		}
	}
	if len(changes) == 0 {
		return usagef("give at least one setting to change; `cairn operator autopilot get-config` shows them")
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	conf, _, err := client.Operator().AutopilotGetConfiguration(s.query())
	if err != nil {
		return failed("reading the settings of autopilot", err)
	}
	for _, change := range changes {
		change(conf)
	}
	done, _, err := client.Operator().AutopilotCASConfiguration(conf, s.write())
	switch {
	case err != nil:
		return failed("changing the settings of autopilot", err)
	case !done:
		return &failure{code: exitConflict, err: errors.New("somebody else changed the settings at the same time: nothing was changed"),
			hint: "look at `cairn operator autopilot get-config` and try again"}
	}
	s.say("settings changed")
	return nil
}

// autopilotHealth shows the health of the servers.
type autopilotHealth struct{}

func (*autopilotHealth) about() about {
	return about{
		synopsis: "show server health by autopilot",
		usage:    "[options]",
		text:     "Shows how the servers do, as the leader sees them: it asks each every two seconds. The exit code is 2 while one is not healthy.",
		examples: [][2]string{{"Show it", "cairn operator autopilot health"}, {"How many may be lost", "cairn operator autopilot health -t '{{.FailureTolerance}}'"}},
		exits:    []exit{{exitConflict, "a server is not healthy"}},
		groups:   withAgent | withData,
	}
}

func (*autopilotHealth) flags(*flags) {}

func (*autopilotHealth) run(s *session, _ []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	health, _, err := client.Operator().AutopilotServerHealth(s.query())
	if isStatus(err, http.StatusTooManyRequests) {
		health, err = unhealthy(err)
	}
	if err != nil {
		return failed("reading the health of the servers", err)
	}
	err = s.show(health, func() {
		s.pairs([2]string{"Healthy", yesNo(health.Healthy)}, [2]string{"Failure Tolerance", strconv.Itoa(health.FailureTolerance)},
			[2]string{"Leader", orNone(clean(health.Leader))})
		s.say("")
		t := newTable("Name", "ID", "Address", "Serf Status", "Version", "Leader", "Voter", "Healthy", "Last Contact", "Last Term", "Last Index", "Stable Since")
		slices.SortFunc(health.Servers, func(a, b api.ServerHealth) int { return strings.Compare(a.Name, b.Name) })
		for _, h := range health.Servers {
			t.add(orNone(h.Name), h.ID, h.Address, orNone(h.SerfStatus), orNone(h.Version), yesNo(h.Leader), yesNo(h.Voter), yesNo(h.Healthy),
				h.LastContact.Round(time.Millisecond).String(), strconv.FormatUint(h.LastTerm, 10), strconv.FormatUint(h.LastIndex, 10),
				h.StableSince.UTC().Format(time.RFC3339))
		}
		s.print(t, "no servers")
	})
	if err == nil && !health.Healthy {
		return &failure{code: exitConflict}
	}
	return err
}

// unhealthy takes the health out of the answer of servers that are not healthy. Requests
// that were refused as too many have the same status and another body.
func unhealthy(err error) (*api.OperatorHealthReply, error) {
	var status api.UnexpectedResponseError
	var health api.OperatorHealthReply
	if !errors.As(err, &status) || json.Unmarshal([]byte(status.Body()), &health) != nil {
		return nil, err
	}
	return &health, nil
}
