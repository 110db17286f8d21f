package command

import (
	"cmp"
	"strconv"
	"strings"
	"time"
)

// replicationStatus shows how a region copies what the authoritative one owns.
type replicationStatus struct{}

func (*replicationStatus) about() about {
	return about{
		synopsis: "show how regions are copied",
		usage:    "[options]",
		text:     "Shows, table by table, how far the region has copied what the authoritative region owns: policies, roles, global tokens, auth methods, binding rules, namespaces and node pools. In quiet times each table is checked every minute. The exit code is 2 while a table is not in step.",
		examples: [][2]string{
			{"Look at the agent's own region", "cairn operator replication status"},
			{"Look at another one", "cairn operator replication status -region mars"},
		},
		exits:  []exit{{exitConflict, "a table is not in step"}},
		groups: withAgent | withData,
	}
}

func (*replicationStatus) flags(*flags) {}

// replicatedTable is the state of one table, as the agent tells it.
type replicatedTable struct {
	Table         string
	Index         uint64
	LastSync      time.Time
	LastError     string
	LastErrorTime time.Time
	Failures      uint64
	Written       uint64
	Deleted       uint64
}

func (*replicationStatus) run(s *session, _ []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	var reply struct {
		Region              string
		AuthoritativeRegion string
		Tables              []*replicatedTable
	}
	if _, err := client.Raw().Query("/v1/operator/replication", &reply, s.query()); err != nil {
		return failed("reading the state of replication", err)
	}
	err = s.show(reply, func() {
		s.pairs([2]string{"Region", clean(reply.Region)}, [2]string{"Authoritative Region", orNone(clean(reply.AuthoritativeRegion))})
		if len(reply.Tables) == 0 {
			s.say("\nthis region copies nothing")
			return
		}
		s.say("")
		t := newTable("Table", "Index", "Last Sync", "Written", "Deleted", "Failures")
		for _, r := range reply.Tables {
			t.add(clean(r.Table), strconv.FormatUint(r.Index, 10), lastSync(r.LastSync),
				strconv.FormatUint(r.Written, 10), strconv.FormatUint(r.Deleted, 10), strconv.FormatUint(r.Failures, 10))
		}
		s.print(t, "")
	})
	if err != nil {
		return err
	}
	var reasons []string // in the order of the tables, each once
	tables := map[string][]string{}
	for _, r := range reply.Tables {
		if r.LastError != "" || r.LastSync.IsZero() {
			why := cmp.Or(cleanLines(r.LastError), "not in step yet")
			if tables[why] == nil {
				reasons = append(reasons, why)
			}
			tables[why] = append(tables[why], clean(r.Table))
		}
	}
	for _, why := range reasons {
		s.warn("%s: %s", strings.Join(tables[why], ", "), why)
	}
	if reasons != nil {
		return &failure{code: exitConflict}
	}
	return nil
}

func lastSync(at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return at.UTC().Format(time.RFC3339)
}

// replicationAccept copies from a region that was made anew.
type replicationAccept struct{}

func (*replicationAccept) about() about {
	return about{
		synopsis: "copy from a region that was made anew",
		usage:    "[options]",
		text: "The region remembers which cluster it copies, and copies from no other: an authoritative region that lost its data would take everything with it. This accepts the cluster that the authoritative region is now. " +
			"What that does not have is deleted here: policies, roles, global tokens, auth methods, binding rules, and namespaces and node pools that are not used.",
		examples: [][2]string{
			{"In the region that copies", "cairn operator replication accept"},
			{"In another one", "cairn operator replication accept -region mars"},
		},
		groups: withAgent | withData,
	}
}

func (*replicationAccept) flags(*flags) {}

func (*replicationAccept) run(s *session, _ []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	var reply struct{ ClusterID, Before string }
	if _, err := client.Raw().Write("/v1/operator/replication/accept", nil, &reply, s.write()); err != nil {
		return failed("accepting the cluster", err)
	}
	return s.show(reply, func() {
		s.pairs([2]string{"Cluster", clean(reply.ClusterID)}, [2]string{"Before", orNone(clean(reply.Before))})
	})
}
