package check

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/llm-reliability/control-plane/infra/assets"
)

var (
	// commandURL is a URL of a function in a command of a playbook.
	commandURL = regexp.MustCompile(`\$\{?LRCP_URL\}?(/[A-Za-z0-9/_.{}-]*)?`)
	// link is a link of a Markdown page that is not to another host.
	link = regexp.MustCompile(`\]\(([^)\s#]+)(?:#[^)]*)?\)`)
	// repositoryPath is a path of this folder in prose.
	repositoryPath = regexp.MustCompile(`datadog/([a-z-]+(?:/[A-Za-z0-9_.@-]+)*/?[A-Za-z0-9_@-]+\.(?:json|md|yaml))`)
	// metricName is a name of a metric in code font.
	metricName = regexp.MustCompile("`((?:llm|product_analytics)\\.[a-z_.]+[a-z_])`")
	// heading are the questions that every playbook answers.
	headings = []string{"What failed", "Why", "What to do next"}
)

// checkPlaybooks holds that each monitor has a playbook, each playbook a monitor, and that what playbooks say to do can be
// done: paths, links, metrics and commands lead somewhere.
func checkPlaybooks(c *checker) {
	for _, d := range c.of(assets.Monitor) {
		if _, err := fs.Stat(c.o.FS, "playbooks/"+d.Key+".md"); err != nil {
			c.bad(d, node{}, "there is no playbook playbooks/%s.md", d.Key)
		}
	}
	pages, err := fs.Glob(c.o.FS, "playbooks/*.md")
	if err != nil {
		c.problems = append(c.problems, Problem{File: "playbooks", Reason: err.Error()})
	}
	for _, page := range pages {
		raw, err := fs.ReadFile(c.o.FS, page)
		if err != nil {
			c.problems = append(c.problems, Problem{File: page, Reason: err.Error()})
			continue
		}
		c.playbook(page, string(raw))
	}
}

func (c *checker) playbook(page, text string) {
	bad := func(line int, format string, args ...any) {
		at := ""
		if line > 0 {
			at = fmt.Sprintf("line %d", line)
		}
		c.problems = append(c.problems, Problem{page, at, fmt.Sprintf(format, args...)})
	}
	if key := strings.TrimSuffix(path.Base(page), ".md"); c.find(assets.Monitor, key) == nil {
		bad(0, "there is no monitor %s", key)
	}
	for _, h := range headings {
		if !regexp.MustCompile(`(?m)^## ` + h).MatchString(text) {
			bad(0, "the page does not say: %s", h)
		}
	}
	if strings.Count(text, "```")%2 != 0 {
		bad(0, "a block of code is not closed")
	}
	for i, line := range strings.Split(text, "\n") {
		for _, reason := range c.references(line) {
			bad(i+1, "%s", reason)
		}
		for _, m := range link.FindAllStringSubmatch(line, -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			target := path.Join(path.Dir(page), m[1])
			if _, err := fs.Stat(c.o.FS, target); err != nil && !strings.HasPrefix(target, "..") {
				bad(i+1, "the link leads to %s, which does not exist", target)
			}
		}
		for _, m := range commandURL.FindAllStringSubmatch(line, -1) {
			method := "GET"
			if strings.Contains(line, " -d ") || strings.Contains(line, "--data") || strings.Contains(line, "-X POST") {
				method = "POST"
			}
			if m[1] != "" && !c.served(method, m[1]) {
				bad(i+1, "no function serves %s %s", method, m[1])
			}
		}
	}
}

// served reports whether a function has a route.
func (c *checker) served(method, path string) bool {
	for _, r := range c.o.Routes {
		if r.Method == method && r.Path == path {
			return true
		}
	}
	return false
}

// references says which files and metrics that a text names do not exist.
func (c *checker) references(text string) []string {
	var out []string
	if !strings.Contains(text, "datadog/") && !strings.Contains(text, "`") {
		return nil
	}
	for _, m := range repositoryPath.FindAllStringSubmatch(text, -1) {
		if _, err := fs.Stat(c.o.FS, m[1]); err != nil {
			out = append(out, fmt.Sprintf("there is no file datadog/%s", m[1]))
		}
	}
	for _, m := range metricName.FindAllStringSubmatch(text, -1) {
		if _, ok := c.lookUp(m[1]); !ok && !c.facets[logs]["@"+m[1]] && !c.facets[spans]["@"+m[1]] && !c.family(m[1]) {
			out = append(out, fmt.Sprintf("there is no metric or attribute %s", m[1]))
		}
	}
	return out
}

// family reports whether a name is the beginning of those of metrics, such as llm.remediation.
func (c *checker) family(name string) bool {
	for known := range c.metrics {
		if strings.HasPrefix(known, name+".") {
			return true
		}
	}
	return false
}

// checkReferences holds that files and metrics exist that an asset's texts for people name.
func checkReferences(c *checker, d *doc) {
	for _, at := range d.texts {
		for _, reason := range c.references(at.text()) {
			c.bad(d, at, "%s", reason)
		}
	}
}

// covered are the kinds of which each asset must be executed by a test.
var covered = []assets.Kind{assets.Monitor, assets.Workflow, assets.Pipeline, assets.SLO, assets.SyntheticsTest}

// checkCovered holds that the tests of the assets cover every asset that can be executed, and nothing that does not exist.
func checkCovered(c *checker) {
	files, err := fs.Glob(c.o.FS, "tests/*.yaml")
	if err != nil {
		c.problems = append(c.problems, Problem{File: "tests", Reason: err.Error()})
	}
	done := map[string]bool{}
	for _, file := range files {
		raw, err := fs.ReadFile(c.o.FS, file)
		var head struct {
			Covers []string `yaml:"covers"`
		}
		if err == nil {
			err = yaml.Unmarshal(raw, &head)
		}
		if err != nil {
			c.problems = append(c.problems, Problem{File: file, Reason: err.Error()})
			continue
		}
		if len(head.Covers) == 0 {
			c.problems = append(c.problems, Problem{file, "covers", "the file does not say which assets it covers"})
		}
		for i, name := range head.Covers {
			done[name] = true
			kind, key, _ := strings.Cut(name, "/")
			if c.find(assets.Kind(kind), key) == nil {
				c.problems = append(c.problems, Problem{file, fmt.Sprintf("covers[%d]", i), fmt.Sprintf("there is no asset %s", name)})
			}
		}
	}
	for _, d := range c.docs {
		if slices.Contains(covered, d.Kind) && !done[string(d.Kind)+"/"+d.Key] {
			c.bad(d, node{}, "no file in tests covers it")
		}
	}
}
