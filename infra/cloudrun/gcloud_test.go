package cloudrun_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/llm-reliability/control-plane/infra/deploy"
)

// The project of the tests.
const (
	projectID     = "acme-llm"
	projectNumber = "123456789012"
	region        = "europe-west1"
)

// listed is what go list says of a folder, by folder.
var listed sync.Map

// project is a stand-in for gcloud and the project behind it: it keeps what was made, and refuses what Google Cloud would
// refuse. It is a deploy.Runner. Commands that it does not know fail.
type project struct {
	t *testing.T
	// installed tools, who is logged in, and whether there is the project and money.
	tools   []string
	account string
	absent  bool
	unpaid  bool

	apis      []string
	accounts  []string
	repos     []string
	images    []string
	databases map[string]string
	protected map[string]bool
	ttls      []string
	secrets   map[string][]string // states of the versions
	values    map[string]string   // of the newest version
	policies  map[string][]binding
	services  map[string]map[string]any
	jobs      map[string]map[string]any

	// ran are the commands that change something, and shown is everything that people could see of all commands.
	ran, shown []string
	// failAt is the command that changes something at which it fails, counted from 1; refuse are words of a command that fails.
	failAt int
	refuse string
}

type binding struct {
	Role      string    `json:"role"`
	Members   []string  `json:"members"`
	Condition *limiting `json:"condition,omitempty"`
}

type limiting struct {
	Title      string `json:"title"`
	Expression string `json:"expression"`
}

func newProject(t *testing.T) *project {
	t.Helper()
	return &project{
		t: t, tools: []string{"gcloud", "go"}, account: "ops@acme.example", databases: map[string]string{}, protected: map[string]bool{},
		secrets: map[string][]string{}, values: map[string]string{}, policies: map[string][]binding{},
		services: map[string]map[string]any{}, jobs: map[string]map[string]any{},
	}
}

// clone returns a project that holds the same.
func (p *project) clone(t *testing.T) *project {
	t.Helper()
	c := *p
	c.t = t
	for _, list := range []*[]string{&c.apis, &c.accounts, &c.repos, &c.images, &c.ttls, &c.ran, &c.shown} {
		*list = slices.Clone(*list)
	}
	c.databases, c.protected, c.values = maps.Clone(p.databases), maps.Clone(p.protected), maps.Clone(p.values)
	c.secrets, c.policies = map[string][]string{}, map[string][]binding{}
	for name, states := range p.secrets {
		c.secrets[name] = slices.Clone(states)
	}
	for thing, bindings := range p.policies {
		for _, b := range bindings {
			b.Members = slices.Clone(b.Members)
			c.policies[thing] = append(c.policies[thing], b)
		}
	}
	c.services, c.jobs = map[string]map[string]any{}, map[string]map[string]any{}
	for name, service := range p.services {
		c.services[name] = maps.Clone(service)
	}
	for name, job := range p.jobs {
		c.jobs[name] = maps.Clone(job)
	}
	return &c
}

// state is all that the project holds, for comparison.
func (p *project) state() string {
	sorted := func(list []string) []string { return slices.Sorted(slices.Values(list)) }
	text, err := json.MarshalIndent([]any{
		sorted(p.apis), sorted(p.accounts), p.repos, sorted(p.images), p.databases, sorted(p.ttls), p.secrets, p.values, p.policies, p.services, p.jobs,
	}, "", " ")
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}

// Look implements deploy.Runner.
func (p *project) Look(name string) error {
	if !slices.Contains(p.tools, name) {
		return fmt.Errorf("look for %s: %w", name, exec.ErrNotFound)
	}
	return nil
}

// Run implements deploy.Runner.
func (p *project) Run(ctx context.Context, c deploy.Command) ([]byte, error) {
	p.shown = append(p.shown, c.String())
	if c.Name == "go" {
		// Which files there are is the same all through a test, so one call is enough; what is in them is read each time.
		out, ok := listed.Load(c.Dir)
		if !ok {
			text, err := deploy.Exec{}.Run(ctx, c)
			if err != nil {
				return nil, err
			}
			out, _ = listed.LoadOrStore(c.Dir, text)
		}
		text, ok := out.([]byte)
		if !ok {
			return nil, fmt.Errorf("%T is no text", out)
		}
		return text, nil
	}
	out, err := p.gcloud(c)
	if err != nil {
		return nil, &deploy.CommandError{Command: c, Stderr: err.Error(), Err: errors.New("exit status 1")}
	}
	return out, nil
}

// call is one call of gcloud, taken apart.
type call struct {
	deploy.Command
	words []string
	flags map[string]string
}

// reads are the commands that change nothing.
var reads = regexp.MustCompile(`^(auth list|.*\b(describe|get-iam-policy|list)\b)`)

func (p *project) gcloud(command deploy.Command) ([]byte, error) {
	c := call{Command: command, flags: map[string]string{}}
	for _, arg := range command.Args {
		if !strings.HasPrefix(arg, "--") {
			c.words = append(c.words, arg)
			continue
		}
		name, value, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if _, twice := c.flags[name]; twice {
			return nil, fmt.Errorf("flag --%s is there twice", name)
		}
		c.flags[name] = value
	}
	line := strings.Join(c.words, " ")
	if c.flags["project"] != projectID && line != "auth list" {
		return nil, fmt.Errorf("project %q", c.flags["project"])
	}
	if _, quiet := c.flags["quiet"]; !quiet {
		return nil, errors.New("it would ask a question")
	}
	if p.refuse != "" && strings.Contains(line, p.refuse) {
		return nil, errors.New("PERMISSION_DENIED: " + p.refuse)
	}
	changes := !reads.MatchString(line)
	if changes {
		if p.failAt--; p.failAt == 0 {
			return nil, errors.New("INTERNAL: it happens")
		}
	}
	for _, known := range p.known() {
		if rest, ok := strings.CutPrefix(line+" ", known.words+" "); ok {
			if known.api != "" && !slices.Contains(p.apis, known.api) {
				return nil, fmt.Errorf("SERVICE_DISABLED: %s has not been used in project %s", known.api, projectID)
			}
			result, err := known.do(c, strings.Fields(rest))
			if err != nil {
				return nil, err
			}
			if changes {
				p.ran = append(p.ran, line)
			}
			return p.print(c, result)
		}
	}
	return nil, fmt.Errorf("unknown command %q", line)
}

// print writes a result as its format says: text for value(…), which is a list of strings, and JSON.
func (p *project) print(c call, result any) ([]byte, error) {
	switch format := c.flags["format"]; {
	case format == "none":
		return nil, nil
	case format == "json":
		return json.Marshal(result)
	case strings.HasPrefix(format, "value("):
		list, ok := result.([]string)
		if !ok {
			return nil, fmt.Errorf("no values in %v", result)
		}
		return []byte(strings.Join(list, "\n") + "\n"), nil
	}
	return nil, fmt.Errorf("format %q", c.flags["format"])
}

type known struct {
	words, api string
	do         func(c call, args []string) (any, error)
}

// list is a command that prints what it has.
func list[T any](words, api string, what func(c call, args []string) (T, error)) known {
	return known{words, api, func(c call, args []string) (any, error) { return what(c, args) }}
}

func (p *project) known() []known {
	const (
		run, registry, secrets, firestore = "run.googleapis.com", "artifactregistry.googleapis.com", "secretmanager.googleapis.com", "firestore.googleapis.com"
		scheduler, iam, projects          = "cloudscheduler.googleapis.com", "iam.googleapis.com", "cloudresourcemanager.googleapis.com"
	)
	values := func(list []string) func(call, []string) ([]string, error) {
		return func(call, []string) ([]string, error) { return list, nil }
	}
	all := []known{
		list("auth list", "", func(call, []string) ([]string, error) { return slices.DeleteFunc([]string{p.account}, isEmpty), nil }),
		list("projects describe", "", func(_ call, args []string) ([]string, error) {
			if p.absent || args[0] != projectID {
				return nil, errors.New("NOT_FOUND: no such project")
			}
			return []string{projectNumber}, nil
		}),
		list("billing projects describe", "", func(call, []string) ([]string, error) {
			return []string{map[bool]string{true: "False", false: "True"}[p.unpaid]}, nil
		}),
		list("services list", "", values(p.apis)),
		{"services enable", "", func(_ call, args []string) (any, error) { return nil, add(&p.apis, args...) }},
		list("iam service-accounts list", iam, values(p.accounts)),
		{"iam service-accounts create", iam, func(_ call, args []string) (any, error) {
			if len(args[0]) < 6 || len(args[0]) > 30 {
				return nil, fmt.Errorf("INVALID_ARGUMENT: %s has %d characters", args[0], len(args[0]))
			}
			return nil, add(&p.accounts, args[0]+"@"+projectID+".iam.gserviceaccount.com")
		}},
		{"iam service-accounts delete", iam, func(_ call, args []string) (any, error) { return nil, remove(&p.accounts, args[0]) }},
		list("artifacts repositories list", registry, func(call, []string) ([]map[string]string, error) {
			return names("projects/"+projectID+"/locations/"+region+"/repositories/", p.repos), nil
		}),
		{"artifacts repositories create", registry, func(c call, args []string) (any, error) {
			if _, immutable := c.flags["immutable-tags"]; !immutable || c.flags["repository-format"] != "docker" {
				return nil, errors.New("a repository whose tags may change")
			}
			return nil, add(&p.repos, args[0])
		}},
		{"artifacts repositories delete", registry, func(_ call, args []string) (any, error) {
			p.images = nil
			return nil, remove(&p.repos, args[0])
		}},
		list("artifacts docker tags list", registry, func(_ call, args []string) ([]map[string]string, error) {
			if !slices.Contains(p.repos, filepath.Base(args[0])) {
				return nil, errors.New("NOT_FOUND: repository")
			}
			var tags []map[string]string
			for _, image := range p.images {
				name, tag, _ := strings.Cut(image, ":")
				tags = append(tags, map[string]string{"image": name, "tag": "projects/x/packages/y/tags/" + tag, "version": "sha256:0"})
			}
			return tags, nil
		}),
		{"builds submit", "cloudbuild.googleapis.com", p.build},
		list("firestore databases list", firestore, func(call, []string) ([]map[string]string, error) {
			var list []map[string]string
			for _, name := range slices.Sorted(maps.Keys(p.databases)) {
				list = append(list, map[string]string{"name": "projects/" + projectID + "/databases/" + name, "type": p.databases[name]})
			}
			return list, nil
		}),
		{"firestore databases create", firestore, func(c call, _ []string) (any, error) {
			if c.flags["type"] != "firestore-native" || c.flags["location"] == "" {
				return nil, errors.New("INVALID_ARGUMENT: type or location")
			}
			_, p.protected[c.flags["database"]] = c.flags["delete-protection"]
			return nil, put(p.databases, c.flags["database"], "FIRESTORE_NATIVE")
		}},
		{"firestore databases update", firestore, func(c call, _ []string) (any, error) {
			p.protected[c.flags["database"]] = false
			return nil, nil
		}},
		{"firestore databases delete", firestore, func(c call, _ []string) (any, error) {
			if p.protected[c.flags["database"]] {
				return nil, errors.New("FAILED_PRECONDITION: protected")
			}
			delete(p.databases, c.flags["database"])
			p.ttls = nil
			return nil, nil
		}},
		list("firestore fields ttls list", firestore, func(c call, _ []string) ([]any, error) {
			var list []any
			for _, ttl := range p.ttls {
				list = append(list, map[string]any{"name": "projects/" + projectID + "/databases/" + ttl, "ttlConfig": map[string]string{"state": "CREATING"}})
			}
			return list, p.hasDatabase(c)
		}),
		{"firestore fields ttls update", firestore, func(c call, args []string) (any, error) {
			if err := p.hasDatabase(c); err != nil {
				return nil, err
			}
			return nil, add(&p.ttls, c.flags["database"]+"/collectionGroups/"+c.flags["collection-group"]+"/fields/"+args[0])
		}},
		list("secrets list", secrets, func(call, []string) ([]map[string]string, error) {
			return names("projects/"+projectNumber+"/secrets/", slices.Sorted(maps.Keys(p.secrets))), nil
		}),
		list("secrets versions list", secrets, func(_ call, args []string) ([]map[string]string, error) {
			var list []map[string]string
			for i, state := range p.secrets[args[0]] {
				list = append(list, map[string]string{"name": fmt.Sprintf("projects/%s/secrets/%s/versions/%d", projectNumber, args[0], i+1), "state": state})
			}
			slices.Reverse(list)
			return list, nil
		}),
		{"secrets create", secrets, func(c call, args []string) (any, error) {
			if _, there := p.secrets[args[0]]; there {
				return nil, errors.New("ALREADY_EXISTS: secret")
			}
			return nil, p.addVersion(c, args[0])
		}},
		{"secrets versions add", secrets, func(c call, args []string) (any, error) { return nil, p.addVersion(c, args[0]) }},
		{"secrets delete", secrets, func(_ call, args []string) (any, error) {
			delete(p.secrets, args[0])
			delete(p.values, args[0])
			delete(p.policies, "secrets "+args[0])
			return nil, nil
		}},
		list("run services list", run, func(call, []string) ([]map[string]any, error) {
			var list []map[string]any
			for _, name := range slices.Sorted(maps.Keys(p.services)) {
				list = append(list, p.services[name])
			}
			return list, nil
		}),
		{"run services replace", run, p.replace},
		{"run services delete", run, func(_ call, args []string) (any, error) {
			delete(p.services, args[0])
			return nil, nil
		}},
		list("scheduler jobs list", scheduler, func(call, []string) ([]map[string]any, error) {
			var list []map[string]any
			for _, name := range slices.Sorted(maps.Keys(p.jobs)) {
				list = append(list, p.jobs[name])
			}
			return list, nil
		}),
		{"scheduler jobs create http", scheduler, func(c call, args []string) (any, error) {
			if p.jobs[args[0]] != nil {
				return nil, errors.New("ALREADY_EXISTS: job")
			}
			return nil, p.schedule(c, args[0], c.flags["headers"])
		}},
		{"scheduler jobs update http", scheduler, func(c call, args []string) (any, error) {
			return nil, p.schedule(c, args[0], c.flags["update-headers"])
		}},
		{"scheduler jobs delete", scheduler, func(_ call, args []string) (any, error) {
			delete(p.jobs, args[0])
			return nil, nil
		}},
	}
	for words, api := range map[string]string{"projects": projects, "artifacts repositories": registry, "secrets": secrets} {
		all = append(all,
			list(words+" get-iam-policy", api, func(_ call, args []string) (map[string]any, error) {
				return map[string]any{"bindings": p.policies[words+" "+args[0]], "etag": "x", "version": 3}, nil
			}),
			known{words + " add-iam-policy-binding", api, func(c call, args []string) (any, error) { return nil, p.bind(c, words+" "+args[0], true) }},
			known{words + " remove-iam-policy-binding", api, func(c call, args []string) (any, error) { return nil, p.bind(c, words+" "+args[0], false) }},
		)
	}
	return all
}

func isEmpty(s string) bool { return s == "" }

func names(prefix string, list []string) []map[string]string {
	result := []map[string]string{}
	for _, name := range list {
		result = append(result, map[string]string{"name": prefix + name})
	}
	return result
}

func add(list *[]string, items ...string) error {
	for _, item := range items {
		if slices.Contains(*list, item) {
			return errors.New("ALREADY_EXISTS: " + item)
		}
		*list = append(*list, item)
	}
	return nil
}

func remove(list *[]string, item string) error {
	if !slices.Contains(*list, item) {
		return errors.New("NOT_FOUND: " + item)
	}
	*list = slices.DeleteFunc(*list, func(s string) bool { return s == item })
	return nil
}

func put(m map[string]string, key, value string) error {
	if _, there := m[key]; there {
		return errors.New("ALREADY_EXISTS: " + key)
	}
	m[key] = value
	return nil
}

func (p *project) hasDatabase(c call) error {
	if p.databases[c.flags["database"]] == "" {
		return errors.New("NOT_FOUND: database " + c.flags["database"])
	}
	return nil
}

func (p *project) addVersion(c call, name string) error {
	if c.flags["data-file"] != "-" || len(c.Stdin) == 0 {
		return errors.New("no value on standard input")
	}
	p.secrets[name] = append(p.secrets[name], "ENABLED")
	p.values[name] = string(c.Stdin)
	return nil
}

// bind changes a policy.
func (p *project) bind(c call, thing string, adding bool) error {
	account := strings.TrimPrefix(c.flags["member"], "serviceAccount:")
	if adding && !slices.Contains(p.accounts, account) {
		return fmt.Errorf("INVALID_ARGUMENT: %s does not exist", account)
	}
	want := binding{Role: c.flags["role"], Members: []string{c.flags["member"]}}
	switch cond := c.flags["condition"]; {
	case cond == "":
		return errors.New("it would ask for a condition")
	case cond != "None":
		parts := regexp.MustCompile(`^expression=([^,]*),title=([^,]*)$`).FindStringSubmatch(cond)
		if parts == nil {
			return fmt.Errorf("condition %q", cond)
		}
		want.Condition = &limiting{Title: parts[2], Expression: parts[1]}
	}
	at := slices.IndexFunc(p.policies[thing], func(b binding) bool { return b.Role == want.Role && b.expression() == want.expression() })
	there := at >= 0 && slices.Contains(p.policies[thing][at].Members, c.flags["member"])
	switch {
	case adding && there:
	case adding && at < 0:
		p.policies[thing] = append(p.policies[thing], want)
	case adding:
		p.policies[thing][at].Members = append(p.policies[thing][at].Members, c.flags["member"])
	case !there:
		return errors.New("NOT_FOUND: binding")
	case len(p.policies[thing][at].Members) == 1:
		p.policies[thing] = slices.Delete(p.policies[thing], at, at+1)
	default:
		p.policies[thing][at].Members = slices.DeleteFunc(p.policies[thing][at].Members, func(m string) bool { return m == c.flags["member"] })
	}
	return nil
}

func (b binding) expression() string {
	if b.Condition == nil {
		return ""
	}
	return b.Condition.Expression
}

// may is whether an account has a role on a thing.
func (p *project) may(account, role, thing string) bool {
	return slices.ContainsFunc(p.policies[thing], func(b binding) bool {
		return b.Role == role && slices.Contains(b.Members, "serviceAccount:"+account)
	})
}

func (p *project) build(c call, args []string) (any, error) {
	account := filepath.Base(c.flags["service-account"])
	for role, thing := range map[string]string{
		"roles/logging.logWriter": "projects " + projectID, "roles/storage.objectViewer": "projects " + projectID,
		"roles/artifactregistry.writer": "artifacts repositories lrcp-prod",
	} {
		if !p.may(account, role, thing) {
			return nil, fmt.Errorf("PERMISSION_DENIED: %s lacks %s", account, role)
		}
	}
	parts := regexp.MustCompile(`^\^;\^_FUNCTION=([a-z]+);_TAGS=[a-z_.,]+;_IMAGE=([^;]+)$`).FindStringSubmatch(c.flags["substitutions"])
	if parts == nil || args[0] != "." || !strings.Contains(parts[2], "/"+parts[1]+":") {
		return nil, fmt.Errorf("substitutions %q", c.flags["substitutions"])
	}
	if _, err := os.Stat(filepath.Join(c.Dir, c.flags["config"])); err != nil {
		return nil, err
	}
	return nil, add(&p.images, parts[2])
}

// replace does what Cloud Run does with a service: it looks whether everything that the service refers to is there.
func (p *project) replace(c call, args []string) (any, error) {
	text, err := os.ReadFile(filepath.Join(c.Dir, args[0]))
	if err != nil {
		return nil, err
	}
	var doc struct {
		Metadata struct {
			Name        string
			Annotations map[string]string
		}
		Spec struct {
			Template struct {
				Spec struct {
					ServiceAccountName string `yaml:"serviceAccountName"`
					Containers         []struct {
						Image string
						Env   []struct {
							ValueFrom struct {
								SecretKeyRef struct {
									Name string
									Key  string
								} `yaml:"secretKeyRef"`
							} `yaml:"valueFrom"`
						}
					}
				}
			}
		}
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	spec := doc.Spec.Template.Spec
	if !slices.Contains(p.accounts, spec.ServiceAccountName) {
		return nil, errors.New("NOT_FOUND: " + spec.ServiceAccountName)
	}
	if !slices.Contains(p.images, spec.Containers[0].Image) {
		return nil, errors.New("NOT_FOUND: image " + spec.Containers[0].Image)
	}
	for _, container := range spec.Containers {
		for _, e := range container.Env {
			ref := e.ValueFrom.SecretKeyRef
			switch states := p.secrets[ref.Name]; {
			case ref.Name == "":
			case !p.may(spec.ServiceAccountName, "roles/secretmanager.secretAccessor", "secrets "+ref.Name):
				return nil, fmt.Errorf("PERMISSION_DENIED: secret %s for %s", ref.Name, spec.ServiceAccountName)
			case !slices.Contains(enabled(states), ref.Key):
				return nil, fmt.Errorf("NOT_FOUND: secret %s version %s", ref.Name, ref.Key)
			}
		}
	}
	url := fmt.Sprintf("https://%s-%s.%s.run.app", doc.Metadata.Name, projectNumber, region)
	annotations := maps.Clone(doc.Metadata.Annotations)
	annotations["run.googleapis.com/urls"] = fmt.Sprintf(`["https://%s-abc-ew.a.run.app",%q]`, doc.Metadata.Name, url)
	p.services[doc.Metadata.Name] = map[string]any{
		"metadata": map[string]any{"name": doc.Metadata.Name, "annotations": annotations},
		"status": map[string]any{
			"url": "https://" + doc.Metadata.Name + "-abc-ew.a.run.app", "conditions": []any{map[string]string{"type": "Ready", "status": "True"}},
		},
	}
	return nil, nil
}

// enabled returns the numbers of the versions that are enabled.
func enabled(states []string) []string {
	var numbers []string
	for i, state := range states {
		if state == "ENABLED" {
			numbers = append(numbers, strconv.Itoa(i+1))
		}
	}
	return numbers
}

func (p *project) schedule(c call, name, headers string) error {
	account := c.flags["oidc-service-account-email"]
	if !slices.Contains(p.accounts, account) {
		return errors.New("NOT_FOUND: " + account)
	}
	sent := map[string]string{"User-Agent": "Google-Cloud-Scheduler"}
	for pair := range strings.SplitSeq(headers, ",") {
		if key, value, ok := strings.Cut(pair, "="); ok {
			sent[key] = value
		}
	}
	p.jobs[name] = map[string]any{
		"name": "projects/" + projectID + "/locations/" + region + "/jobs/" + name, "state": "ENABLED",
		"schedule": c.flags["schedule"], "timeZone": c.flags["time-zone"], "attemptDeadline": c.flags["attempt-deadline"],
		"retryConfig": map[string]string{"maxRetryDuration": "0s", "minBackoffDuration": "5s"},
		"httpTarget": map[string]any{
			"uri": c.flags["uri"], "httpMethod": strings.ToUpper(c.flags["http-method"]), "headers": sent,
			"oidcToken": map[string]string{"serviceAccountEmail": account, "audience": c.flags["oidc-token-audience"]},
		},
	}
	return nil
}
