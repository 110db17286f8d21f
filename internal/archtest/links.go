package archtest

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

var (
	mdLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	mdHeading = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`)
	mdFence   = regexp.MustCompile("(?ms)^```.*?^```")
	notSlug   = regexp.MustCompile(`[^\w\- ]`)
)

// checkLinks resolves every link of a Markdown file to a file of the module,
// and its fragment to a heading.
func checkLinks(t *tree) []problem {
	docs := map[string]string{}
	for _, f := range t.texts {
		if path.Ext(f.path) == ".md" {
			docs[f.path] = mdFence.ReplaceAllString(f.src, "")
		}
	}
	var out []problem
	for _, f := range t.texts {
		for _, m := range mdLink.FindAllStringSubmatch(docs[f.path], -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			file, fragment, _ := strings.Cut(m[1], "#")
			target := f.path
			if file != "" {
				target = path.Join(path.Dir(f.path), file)
			}
			if !t.paths[target] {
				out = append(out, problem{at: f.path, msg: "broken link: " + m[1]})
			} else if fragment != "" && !slices.Contains(slugs(docs[target]), fragment) {
				out = append(out, problem{at: f.path, msg: "no such heading: " + m[1]})
			}
		}
	}
	return out
}

// slugs returns the fragments that a Markdown file's headings answer to.
func slugs(doc string) []string {
	var out []string
	for _, m := range mdHeading.FindAllStringSubmatch(doc, -1) {
		s := notSlug.ReplaceAllString(strings.ToLower(m[1]), "")
		out = append(out, strings.ReplaceAll(s, " ", "-"))
	}
	return out
}

var (
	makeTarget = regexp.MustCompile(`(?m)^([a-z][a-z-]*):`)
	makeUse    = regexp.MustCompile("(?m)(?:^\\s*(?:\\$ )?|`)make ([a-z][a-z-]*)")
)

// checkCommands compares the make commands in the documents with the targets.
func checkCommands(t *tree) []problem {
	var targets []string
	for _, f := range t.texts {
		if f.path == "Makefile" {
			for _, m := range makeTarget.FindAllStringSubmatch(f.src, -1) {
				targets = append(targets, m[1])
			}
		}
	}
	var out []problem
	for _, f := range t.texts {
		if path.Ext(f.path) != ".md" && f.path != ".ci/run" {
			continue
		}
		for _, m := range makeUse.FindAllStringSubmatch(f.src, -1) {
			if !slices.Contains(targets, m[1]) {
				out = append(out, problem{at: f.path, msg: fmt.Sprintf("make %s: the Makefile has no such target", m[1])})
			}
		}
	}
	return out
}

var (
	testName = regexp.MustCompile(`\b((?:Test|Fuzz)[A-Z]\w*)\b`)
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
)

// checkChecklist wants every test that CHECKLIST.md or another document names to exist.
func checkChecklist(t *tree) []problem {
	have := map[string]bool{}
	for _, f := range t.files {
		if f.test {
			for _, m := range testFunc.FindAllStringSubmatch(f.src, -1) {
				have[m[1]] = true
			}
		}
	}
	var out []problem
	for _, f := range t.texts {
		if path.Ext(f.path) != ".md" {
			continue
		}
		for _, m := range testName.FindAllStringSubmatch(f.src, -1) {
			if !have[m[1]] {
				out = append(out, problem{at: f.path, msg: "names a test that does not exist: " + m[1]})
			}
		}
	}
	return out
}

var hclKey = regexp.MustCompile("`hcl:\"(\\w+)")

// checkConfigDocs wants every key of the agent's configuration in its document.
func checkConfigDocs(t *tree) []problem {
	const doc = "docs/configuration.md"
	var known string
	for _, f := range t.texts {
		if f.path == doc {
			known = f.src
		}
	}
	var out []problem
	missing := map[string]bool{}
	for _, f := range t.in(agentDir) {
		for _, m := range hclKey.FindAllStringSubmatch(f.src, -1) {
			if !regexp.MustCompile(`\b`+m[1]+`\b`).MatchString(known) && !missing[m[1]] {
				missing[m[1]] = true
				out = append(out, problem{at: doc, msg: "the key " + m[1] + " of " + f.path + " is not in the document"})
			}
		}
	}
	return out
}

var metricName = regexp.MustCompile(`\bcairn_[a-z0-9_]+`)

// checkMetrics looks for every metric, or claim of an identity, that a document or an alert
// names in the source; a name that ends in an underscore stands for all that begin so.
func checkMetrics(t *tree) []problem {
	var source strings.Builder
	for _, f := range t.files {
		if !f.test {
			source.WriteString(f.src)
		}
	}
	var out []problem
	for _, f := range t.texts {
		if path.Ext(f.path) != ".md" && path.Dir(f.path) != "deploy/prometheus" {
			continue
		}
		for _, name := range metricName.FindAllString(f.src, -1) {
			begins := strings.Contains(source.String(), `"`+name)
			whole := strings.Contains(source.String(), `"`+name+`"`) || strings.Contains(source.String(), `"`+name+`,omitempty"`)
			if !whole && !(begins && strings.HasSuffix(name, "_")) {
				out = append(out, problem{at: f.path, msg: name + ": there is no such metric"})
			}
		}
	}
	return out
}
