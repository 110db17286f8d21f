package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/cairn-project/cairn/nomad/archive"
)

// snapshotSave downloads an archive of the state.
type snapshotSave struct{ stale bool }

func (*snapshotSave) about() about {
	return about{
		synopsis: "download state to a file",
		usage:    "[options] [<file>]",
		text: "Saves the whole state of the cluster: variables, tokens, policies, nodes and the root keys, as the leader has it now. Whoever can read the file can read all of that: keep it where secrets are kept. " +
			"The file is checked before it gets its name. Without one it is called after the time.",
		examples: [][2]string{
			{"Save to a file named after the time", "cairn operator snapshot save"},
			{"Save what the agent's own server has, while there is no leader", "cairn operator snapshot save -stale backup.snap"},
		},
		max: 1, groups: withAgent | withData, args: anyFile,
	}
}

func (c *snapshotSave) flags(f *flags) {
	f.boolean(&c.stale, "stale", "Take the state of any server, which may lack the last writes.")
}

// savedFile tells of an archive that was saved.
type savedFile struct {
	File  string
	Bytes int64
	archive.Meta
}

func (c *snapshotSave) run(s *session, args []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	name := time.Now().UTC().Format("cairn-20060102T150405Z.snap")
	if len(args) > 0 {
		name = args[0]
	}
	if _, err := os.Lstat(name); err == nil {
		return failed("saving the state", archive.Taken(name))
	}
	q := s.query()
	q.AllowStale = c.stale
	body, err := client.Operator().Snapshot(q)
	if err != nil {
		return failed("saving the state", err)
	}
	defer body.Close()
	file, err := archive.SaveFile(name, body)
	if err != nil {
		return failed("saving the state", err)
	}
	return s.show(&savedFile{name, file.Size, file.Meta}, func() {
		s.pairs(append([][2]string{{"File", name}}, metaPairs(&file.Meta)...)...)
	})
}

func metaPairs(m *archive.Meta) [][2]string {
	return [][2]string{
		{"Saved", m.Created.Format(time.RFC3339)},
		{"Region", clean(m.Region)},
		{"Cluster", orNone(clean(m.ClusterID))},
		{"Index", fmt.Sprint(m.StateIndex)},
		{"Raft Index", fmt.Sprint(m.Index)},
		{"Raft Term", fmt.Sprint(m.Term)},
		{"State Bytes", fmt.Sprint(m.Size)},
		{"Written By", clean(m.Program + " " + m.ProgramVersion)},
	}
}

// snapshotRestore has an archive take the place of the state.
type snapshotRestore struct{ yes, other bool }

func (*snapshotRestore) about() about {
	return about{
		synopsis: "load state from a file",
		usage:    "[options] <file>",
		text: "Replaces the whole state of the cluster by that of an archive: what was written since it was saved is gone, tokens and policies are those of the archive, and node agents that it does not know register again. " +
			"The file is checked here first and by the leader again, which refuses it before anything changes when it is damaged or its root keys cannot be read. The cluster keeps its servers and its ID.",
		examples: [][2]string{
			{"Look what it is, then restore it", "cairn operator snapshot restore backup.snap"},
			{"Without a question", "cairn operator snapshot restore -yes backup.snap"},
		},
		min: 1, max: 1, groups: withAgent | withData, args: anyFile,
	}
}

func (c *snapshotRestore) flags(f *flags) {
	f.boolean(&c.yes, "yes", "Ask no question. Without a terminal nothing is restored unless this is given.")
	f.boolean(&c.other, "other-region", "Take an archive of a region of another name.")
}

func (c *snapshotRestore) run(s *session, args []string) error {
	f, err := os.Open(args[0])
	if err != nil {
		return failed("reading the archive", err)
	}
	defer f.Close()
	meta, err := archive.Verify(f)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return failed("reading the archive", err)
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	if !c.yes {
		if err := s.askRestore(meta); err != nil {
			return err
		}
	}
	path := "/v1/operator/snapshot"
	if c.other {
		path += "?other_region=true"
	}
	var reply struct{ Index, Before, ArchiveIndex uint64 }
	if _, err := client.Raw().Write(path, f, &reply, s.write()); err != nil {
		return failed("restoring the state", err)
	}
	return s.show(reply, func() {
		s.pairs([2]string{"Restored", args[0]}, [2]string{"Archive Index", fmt.Sprint(reply.ArchiveIndex)},
			[2]string{"Index Before", fmt.Sprint(reply.Before)}, [2]string{"Index Now", fmt.Sprint(reply.Index)})
	})
}

// askRestore says what would be replaced, and asks.
func (s *session) askRestore(meta *archive.Meta) error {
	if !isTerminal(s.stdin) {
		return usagef("there is no terminal to ask on: -yes restores without a question")
	}
	s.note("This replaces the whole state of the cluster at %s.", clean(s.api.Address()))
	q := s.query()
	q.PerPage = 1
	if _, found, err := s.api.Namespaces().List(q); err == nil { // any read tells
		s.note("It is at index %d or above now. The archive is at index %d and was saved %s ago, at %s, of the cluster %s in region %s.", found.LastIndex, meta.StateIndex,
			time.Since(meta.Created).Round(time.Second), meta.Created.Format(time.RFC3339), orNone(clean(meta.ClusterID)), clean(meta.Region))
	}
	s.note("All that was written since is lost. Type yes to go on:")
	answer, err := bufio.NewReader(s.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if strings.TrimSpace(answer) != "yes" {
		return failed("restoring the state", errors.New("nothing was done"))
	}
	return nil
}
