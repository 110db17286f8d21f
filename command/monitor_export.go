package command

import (
	"io"
	"net/url"
	"strconv"
	"time"
)

// monitorExport reads what an agent logged before.
type monitorExport struct {
	logOf
	onDisk, follow bool
	service        string
	since          time.Duration
}

func (*monitorExport) about() about {
	return about{
		synopsis: "fetch historic log from agent",
		usage:    "-on-disk | -service-name <name> [options]",
		text: "Prints what the agent that is asked, another server or the agent of a node logged before: its log file, or the journal of its service. " +
			"Of the journal only services with cairn or nomad in their names are shown.",
		examples: [][2]string{
			{"The log file of a node's agent", "cairn monitor export -on-disk -node-id 1f3a"},
			{"Half a day of the leader's journal, and what comes", "cairn monitor export -service-name cairn -logs-since 12h -follow -server-id leader"},
		},
		groups: withAgent,
	}
}

func (c *monitorExport) flags(f *flags) {
	f.boolean(&c.onDisk, "on-disk", "The file that log_file of the agent names.")
	f.text(&c.service, "service-name", "name", "The journal of this service.")
	f.duration(&c.since, "logs-since", "How far back the journal is read, 72h by default.")
	f.boolean(&c.follow, "follow", "Go on with what comes into the journal.")
	c.logOf.flags(f)
}

func (c *monitorExport) run(s *session, _ []string) error {
	if c.onDisk == (c.service != "") {
		return usagef("give one of -on-disk and -service-name")
	}
	if c.onDisk && (c.follow || c.since != 0) {
		return usagef("-follow and -logs-since are for -service-name")
	}
	q := url.Values{"on_disk": {strconv.FormatBool(c.onDisk)}, "follow": {strconv.FormatBool(c.follow)}}
	if c.service != "" {
		q.Set("service_name", c.service)
	}
	if c.since != 0 {
		q.Set("logs_since", c.since.String())
	}
	return c.print(s, "/v1/agent/monitor/export", q, "reading the log")
}

// logOf says whose log a command is about.
type logOf struct{ node, server string }

func (l *logOf) flags(f *flags) {
	f.text(&l.node, "node-id", "ID", "Of the agent of this node.")
	f.text(&l.server, "server-id", "ID", "Of this server, by name or ID; \"leader\" is the leader.", serverNames)
}

// print prints the lines that a route answers with.
func (l *logOf) print(s *session, path string, q url.Values, doing string) error {
	if l.server != "" && l.node != "" {
		return usagef("give one of -server-id and -node-id")
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	q.Set("plain", "true")
	if l.server != "" {
		q.Set("server_id", l.server)
	}
	if l.node != "" {
		id, err := s.findNode(l.node)
		if err != nil {
			return err
		}
		q.Set("node_id", id)
	}
	body, err := client.Raw().Response(path+"?"+q.Encode(), s.query())
	if err != nil {
		return failed(doing, err)
	}
	defer body.Close()
	_, err = io.Copy(s.stdout, body)
	return err
}
