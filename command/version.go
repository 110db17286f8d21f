package command

import "fmt"

// version prints the release.
type version struct{}

func (*version) about() about {
	return about{
		synopsis: "print the version",
		usage:    "[options]",
		text:     "Prints the release on the first line and the commit it was built from on the second. `cairn -version` prints the same.",
		examples: [][2]string{{"Show the version", "cairn version"}, {"Read it in a script", "cairn version -t '{{.Version}}'"}},
		groups:   withData,
	}
}

func (*version) flags(*flags) {}

func (*version) run(s *session, _ []string) error {
	v := struct{ Version, Revision string }{s.opts.Version, s.opts.Revision}
	return s.show(v, func() { s.say("%s", versionText(v.Version, v.Revision)) })
}

// versionText starts with a line that programs parse: a word, a space, "v" and the release.
func versionText(release, revision string) string {
	text := fmt.Sprintf("Cairn v%s", release)
	if revision != "" {
		text += "\nRevision " + revision
	}
	return text
}
