package cloudrun_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/infra/cloudrun"
	"github.com/llm-reliability/control-plane/infra/cloudrun/manifest"
	"github.com/llm-reliability/control-plane/infra/deploy"
)

var update = flag.Bool("update", false, "write the golden files anew")

// secretValues are the values of the secrets, by variable.
func secretValues() map[string]string {
	return map[string]string{
		"LRCP_API_KEYS": "web:secret-1", "LRCP_CONTROL_SECRETS": "secret-2", "LRCP_PROBE_API_KEY": "secret-3", "LRCP_ESCALATION_APP_KEY": "secret-7",
		"DD_API_KEY": "secret-4", "DD_APP_KEY": "secret-5", "OPENAI_API_KEY": "secret-6",
	}
}

// repository makes a small module with the folders of this one.
func repository(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	write(t, root, "go.mod", "module example.com/control-plane\n\ngo 1.26\n")
	write(t, root, "go.sum", "")
	write(t, root, "infra/cloudrun/Dockerfile", "FROM scratch\n")
	write(t, root, "infra/cloudrun/cloudbuild.yaml", "steps: []\n")
	write(t, root, "shared/llm/llm.go", "package llm\n")
	write(t, root, "infra/trim/cmd/main.go", "package main\n\nfunc main() {}\n")
	write(t, root, "infra/timerslack/main.go", "package main\n\nfunc main() {}\n")
	for _, f := range manifest.Functions() {
		use := ""
		if f.Models {
			use = "import _ \"example.com/control-plane/shared/llm\"\n\n"
		}
		write(t, root, "functions/"+f.Name+"/cmd/main.go", "package main\n\n"+use+"func main() {}\n")
	}
	return root
}

func write(t *testing.T, root, file, content string) {
	t.Helper()
	path := filepath.Join(root, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// setting changes the options of a test.
type setting func(*cloudrun.Options)

func param(name, value string) setting {
	return func(o *cloudrun.Options) { o.Params[name] = value }
}

func purge(o *cloudrun.Options) { o.Purge = true }

func target(t *testing.T, p *project, root string, change ...setting) *cloudrun.Target {
	t.Helper()
	opts := cloudrun.Options{
		Root: root, Stage: "prod", Region: region, Runner: p, Getenv: func(name string) string { return secretValues()[name] },
		Params: map[string]string{"project": projectID, "site": "datadoghq.eu", "version": "1.4.0"},
	}
	for _, c := range change {
		c(&opts)
	}
	tgt, err := cloudrun.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return tgt
}

// plan does what comes before a deployment.
func plan(t *testing.T, tgt *cloudrun.Target) deploy.Plan {
	t.Helper()
	if problems := tgt.Requirements(t.Context()); len(problems) > 0 {
		t.Fatal(deploy.Problems(problems))
	}
	return look(t, tgt)
}

// look is plan for where the requirements were looked at before.
func look(t *testing.T, tgt *cloudrun.Target) deploy.Plan {
	t.Helper()
	if err := tgt.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	planned, err := deploy.Look(t.Context(), tgt.Steps())
	if err != nil {
		t.Fatal(err)
	}
	return planned
}

// apply carries a plan out.
func apply(t *testing.T, p *project, planned deploy.Plan) deploy.Report {
	t.Helper()
	return planned.Apply(t.Context(), p, func(deploy.Planned) {})
}

// deployed is a project with everything in it.
func deployed(t *testing.T, root string, change ...setting) *project {
	t.Helper()
	p := newProject(t)
	if report := apply(t, p, look(t, target(t, p, root, change...))); report.Err != nil {
		t.Fatal(report.Text("again"))
	}
	p.ran = nil
	return p
}

// changes are the steps of a plan that would change something.
func changes(planned deploy.Plan) []string {
	var list []string
	for _, s := range planned {
		if s.Action != deploy.Unchanged {
			list = append(list, string(s.Action)+" "+s.Name)
		}
	}
	return list
}

func TestDeployFromAnEmptyProject(t *testing.T) {
	p, root := newProject(t), repository(t)
	tgt := target(t, p, root)
	planned := plan(t, tgt)
	if len(p.ran) > 0 {
		t.Fatalf("looking ran %v", p.ran)
	}
	golden(t, "plan.txt", strings.ReplaceAll(planned.Text(true), root, "/repository"))
	report := apply(t, p, planned)
	if report.Err != nil {
		t.Fatal(report.Text("again"))
	}
	want := map[string]string{}
	for _, f := range manifest.Functions() {
		want[f.Name] = "https://lrcp-prod-" + f.Name + "-123456789012.europe-west1.run.app"
	}
	got, err := tgt.URLs(t.Context())
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("URLs, error %v, want - got +:\n%s", err, diff)
	}
	for variable, name := range map[string]string{"LRCP_API_KEYS": "lrcp-prod-api-keys", "DD_APP_KEY": "lrcp-prod-dd-app-key"} {
		if p.values[name] != secretValues()[variable] {
			t.Errorf("secret %s holds %q", name, p.values[name])
		}
	}

	p.ran = nil
	again := plan(t, target(t, p, root))
	if !again.Empty() || len(changes(again)) > 0 {
		t.Errorf("the second plan changes %v", changes(again))
	}
	if report := apply(t, p, again); report.Err != nil || len(p.ran) > 0 {
		t.Errorf("the second run: %v, %v", p.ran, report.Err)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		write(t, ".", file, got)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("want - got +; go test -update writes it anew:\n%s", diff)
	}
}

// TestNobodySeesASecret looks at everything that people could see of a deployment, failures included.
func TestNobodySeesASecret(t *testing.T) {
	p, root := newProject(t), repository(t)
	planned := plan(t, target(t, p, root))
	p.refuse = "secrets create lrcp-prod-control-secrets"
	report := apply(t, p, planned)
	if report.Err == nil {
		t.Fatal("the secret was made")
	}
	seen := strings.Join(p.shown, "\n") + planned.Text(true) + report.Text("again") + report.Err.Error()
	for variable, value := range secretValues() {
		if strings.Contains(seen, value) {
			t.Errorf("the value of %s is shown", variable)
		}
	}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if strings.Contains(string(content), "secret-") {
			t.Errorf("the file %s holds a secret", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestGoesOnAfterAFailureAtEachCommand cuts a deployment at each command that changes something, and then goes on.
func TestGoesOnAfterAFailureAtEachCommand(t *testing.T) {
	root, p := repository(t), newProject(t)
	tgt := target(t, p, root)
	planned := plan(t, tgt)
	if report := apply(t, p, planned); report.Err != nil {
		t.Fatal(report.Err)
	}
	whole, steps := p.clone(t), changes(planned)
	if len(steps) != len(whole.ran) {
		t.Fatalf("%d steps ran %d commands: a report would not be exact", len(steps), len(whole.ran))
	}
	// What was prepared is the same each time, and takes most of the time.
	steady := func() deploy.Plan {
		planned, err := deploy.Look(t.Context(), tgt.Steps())
		if err != nil {
			t.Fatal(err)
		}
		return planned
	}
	for i := range steps {
		*p = *newProject(t)
		p.failAt = i + 1
		report := apply(t, p, steady())
		failed := strings.TrimPrefix(steps[i], "create ")
		if report.Failed != failed || len(report.Done) != i || len(report.Left) != len(steps)-i-1 || !deploy.Said(report.Err, "INTERNAL") {
			t.Fatalf("cut at %s: %s", failed, report.Text("again"))
		}
		if diff := cmp.Diff(strings.Join(whole.ran[:i], "\n"), strings.Join(p.ran, "\n")); diff != "" {
			t.Errorf("cut at %s, should have run - ran +:\n%s", failed, diff)
		}
		rest := steady()
		if diff := cmp.Diff(steps[i:], changes(rest)); diff != "" {
			t.Errorf("after %s, left - planned +:\n%s", failed, diff)
		}
		if report := apply(t, p, rest); report.Err != nil {
			t.Errorf("after %s: %s", failed, report.Text("again"))
		}
		if diff := cmp.Diff(whole.state(), p.state()); diff != "" {
			t.Errorf("after %s, in one go - in two +:\n%s", failed, diff)
		}
	}
}

// TestOnlyWhatDiffersIsChanged changes one thing in a project that is deployed, or in what should be.
func TestOnlyWhatDiffersIsChanged(t *testing.T) {
	binding0 := func(p *project, thing, role string) {
		p.policies[thing] = slices.DeleteFunc(p.policies[thing], func(b binding) bool { return b.Role == role })
	}
	every := []string{"qa", "completion", "remediation", "diagnosis", "escalation", "insights", "probe", "theater"}
	all := func(format string, functions ...string) []string {
		var list []string
		for _, f := range functions {
			list = append(list, fmt.Sprintf(format, f))
		}
		return list
	}
	tests := map[string]struct {
		project func(*project)
		source  map[string]string
		change  []setting
		want    []string
	}{
		"another version is another revision of every function": {
			change: []setting{param("version", "1.4.1")},
			want:   all("update service lrcp-prod-%s", every...),
		},
		"what one function is made from": {
			source: map[string]string{"functions/probe/cmd/main.go": "package main\n\nfunc main() { println() }\n"},
			want:   []string{"create image probe", "update service lrcp-prod-probe"},
		},
		"what several functions are made from": {
			source: map[string]string{"shared/llm/llm.go": "package llm\n\n// A comment is a change too.\n"},
			want: slices.Concat(all("create image %s", "qa", "completion", "diagnosis"),
				all("update service lrcp-prod-%s", "qa", "completion", "diagnosis")),
		},
		"what decides on what is left out": {
			source: map[string]string{"infra/trim/cmd/main.go": "package main\n\nfunc main() { println() }\n"},
			want: slices.Concat(all("create image %s", every...),
				all("update service lrcp-prod-%s", every...)),
		},
		"what starts a function": {
			source: map[string]string{"infra/timerslack/main.go": "package main\n\nfunc main() { println() }\n"},
			want: slices.Concat(all("create image %s", every...),
				all("update service lrcp-prod-%s", every...)),
		},
		"a test is no part of a function": {source: map[string]string{"shared/llm/llm_test.go": "package llm\n"}},
		"a new version of a secret": {
			project: func(p *project) { p.secrets["lrcp-prod-api-keys"] = []string{"ENABLED", "ENABLED"} },
			want:    all("update service lrcp-prod-%s", "qa", "completion"),
		},
		"a new version that was taken back": {
			project: func(p *project) { p.secrets["lrcp-prod-api-keys"] = []string{"ENABLED", "DISABLED"} },
		},
		"a secret without a version that is enabled": {
			project: func(p *project) { p.secrets["lrcp-prod-probe-api-key"] = []string{"DESTROYED"} },
			want:    []string{"update secret lrcp-prod-probe-api-key", "update service lrcp-prod-probe", "update service lrcp-prod-theater"},
		},
		"a revision that never became ready": {
			project: func(p *project) {
				p.services["lrcp-prod-qa"]["status"] = map[string]any{
					"url": "https://lrcp-prod-qa-abc-ew.a.run.app", "conditions": []any{map[string]string{"type": "Ready", "status": "False", "message": "the probe failed"}},
				}
			},
			want: []string{"update service lrcp-prod-qa"},
		},
		"a service that somebody deleted": {
			project: func(p *project) { delete(p.services, "lrcp-prod-diagnosis") },
			want:    []string{"create service lrcp-prod-diagnosis"},
		},
		"a schedule that somebody changed": {
			project: func(p *project) { p.jobs["lrcp-prod-insights"]["schedule"] = "0 0 * * *" },
			want:    []string{"update schedule lrcp-prod-insights"},
		},
		"a schedule without its header": {
			project: func(p *project) {
				p.jobs["lrcp-prod-insights"]["httpTarget"] = map[string]any{"uri": "https://lrcp-prod-insights-123456789012.europe-west1.run.app/insights"}
			},
			want: []string{"update schedule lrcp-prod-insights"},
		},
		"another schedule": {
			change: []setting{param("probe_schedule", "0 * * * *")},
			want:   []string{"update schedule lrcp-prod-probe"},
		},
		"a schedule that is paused stays so": {project: func(p *project) { p.jobs["lrcp-prod-probe"]["state"] = "PAUSED" }},
		"a role that somebody took away": {
			project: func(p *project) { binding0(p, "projects "+projectID, "roles/aiplatform.user") },
			want:    all("create role aiplatform.user for %s on project", "qa", "completion", "diagnosis"),
		},
		"a role that somebody gave": {
			project: func(p *project) {
				p.policies["projects "+projectID] = append(p.policies["projects "+projectID],
					binding{Role: "roles/editor", Members: []string{"user:a@acme.example", "serviceAccount:lrcp-prod-qa@acme-llm.iam.gserviceaccount.com"}})
			},
			want: []string{"delete roles that are not needed"},
		},
		"a database of another name": {
			change: []setting{param("database", "other")},
			want: slices.Concat([]string{"create Firestore database other", "create TTL of lrcp-control", "create TTL of lrcp-cache", "create TTL of lrcp-escalation"},
				all("create role datastore.user for %s on project", "qa", "completion", "remediation", "escalation"),
				[]string{"delete roles that are not needed"}, all("update service lrcp-prod-%s", "qa", "completion", "remediation", "escalation")),
		},
		"models of OpenAI instead of Google's": {
			change: []setting{param("provider", "openai"), param("model_standard", "m")},
			want: slices.Concat([]string{"create secret lrcp-prod-openai-api-key"},
				all("create role secretmanager.secretAccessor for %s on secret lrcp-prod-openai-api-key", "qa", "completion", "diagnosis"),
				[]string{"delete roles that are not needed"}, all("create image %s", "qa", "completion", "diagnosis"),
				all("update service lrcp-prod-%s", every...)),
		},
	}
	shared := repository(t)
	whole := deployed(t, shared)
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			root, p := shared, whole.clone(t)
			if tc.source != nil {
				root = repository(t)
			}
			if tc.project != nil {
				tc.project(p)
			}
			for file, content := range tc.source {
				write(t, root, file, content)
			}
			planned := plan(t, target(t, p, root, tc.change...))
			if diff := cmp.Diff(tc.want, changes(planned)); diff != "" {
				t.Errorf("changes, want - got +:\n%s", diff)
			}
			if report := apply(t, p, planned); report.Err != nil {
				t.Fatal(report.Text("again"))
			}
			// What people gave to others stays, what they paused does too.
			if again := plan(t, target(t, p, root, tc.change...)); !again.Empty() {
				t.Errorf("then there is still %v", changes(again))
			}
		})
	}
}

func TestRequirementsAreOneList(t *testing.T) {
	tests := map[string]struct {
		project func(*project)
		change  []setting
		root    string
		want    []string
	}{
		"nothing is there": {
			project: func(p *project) { p.tools = nil },
			root:    t.TempDir(),
			change: []setting{func(o *cloudrun.Options) {
				o.Params, o.Region, o.Getenv = map[string]string{"colour": "red", "cpu": "some", "probe_schedule": "hourly"}, "", func(string) string { return "" }
			}},
			want: []string{
				"there is no project", "there is no region", "there is no Datadog site", "there is no version",
				"there is no setting cloudrun.colour", `cloudrun.probe_schedule is five fields of cron, not "hourly"`, `cloudrun.cpu is always or request, not "some"`,
				"gcloud is not installed", "go is not installed", "there is no go.mod here",
				"there is no infra/cloudrun/Dockerfile here", "there is no infra/cloudrun/cloudbuild.yaml here",
				"the secret lrcp-prod-api-keys does not exist, and the variable LRCP_API_KEYS is not set",
				"the secret lrcp-prod-dd-api-key does not exist, and the variable DD_API_KEY is not set",
				"the secret lrcp-prod-control-secrets does not exist, and the variable LRCP_CONTROL_SECRETS is not set",
				"the secret lrcp-prod-escalation-app-key does not exist, and the variable LRCP_ESCALATION_APP_KEY is not set",
				"the secret lrcp-prod-dd-app-key does not exist, and the variable DD_APP_KEY is not set",
				"the secret lrcp-prod-probe-api-key does not exist, and the variable LRCP_PROBE_API_KEY is not set",
			},
		},
		"names that can't be": {
			change: []setting{param("project", "X"), param("site", "https://datadoghq.eu"), param("database", "a"), func(o *cloudrun.Options) {
				o.Stage, o.Region = "a-stage-of-fourteen", "Europe"
			}},
			want: []string{
				`"X" can't be a project`, `"Europe" can't be a region`, `"a-stage-of-fourteen" can't be a stage`,
				`"a" can't be a Firestore database`, `"https://datadoghq.eu" can't be a Datadog site`,
			},
		},
		"nobody is logged in": {
			project: func(p *project) { p.account = "" },
			want:    []string{"nobody is logged in with gcloud"},
		},
		"a project that can't be seen": {
			project: func(p *project) { p.absent = true },
			want:    []string{"ops@acme.example can't see the project acme-llm: NOT_FOUND: no such project"},
		},
		"nobody pays": {
			project: func(p *project) { p.unpaid = true },
			want:    []string{"the project acme-llm has no billing account"},
		},
		"who may not ask who pays finds out later": {
			project: func(p *project) { p.refuse = "billing" },
		},
		"a database of the other kind": {
			project: func(p *project) {
				p.apis, p.databases["(default)"] = []string{"firestore.googleapis.com"}, "DATASTORE_MODE"
			},
			change: []setting{param("database", "(default)")},
			want:   []string{"the Firestore database (default) is of type DATASTORE_MODE, not FIRESTORE_NATIVE: choose another with the setting database"},
		},
		"a secret that ends with a new line": {
			change: []setting{func(o *cloudrun.Options) {
				o.Getenv = func(name string) string {
					return secretValues()[name] + map[bool]string{true: "\n"}[name == "DD_APP_KEY"]
				}
			}},
			want: []string{"the variable DD_APP_KEY begins or ends with a space or a new line"},
		},
		"what is to be destroyed needs neither sources nor secrets": {
			project: func(p *project) { p.tools, p.unpaid = []string{"gcloud"}, true },
			root:    t.TempDir(),
			change: []setting{func(o *cloudrun.Options) {
				o.Destroy, o.Getenv = true, func(string) string { return "" }
			}},
		},
		"but a project that can be seen": {
			project: func(p *project) { p.absent = true },
			change:  []setting{func(o *cloudrun.Options) { o.Destroy = true }},
			want:    []string{"ops@acme.example can't see the project acme-llm: NOT_FOUND: no such project"},
		},
		"secrets that may not be listed": {
			project: func(p *project) { p.apis, p.refuse = []string{"secretmanager.googleapis.com"}, "secrets list" },
			want:    []string{"the secrets can't be listed: PERMISSION_DENIED: secrets list"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			p := newProject(t)
			if tc.project != nil {
				tc.project(p)
			}
			root := tc.root
			if root == "" {
				root = repository(t)
			}
			var got []string
			for _, problem := range target(t, p, root, tc.change...).Requirements(t.Context()) {
				got = append(got, problem.What)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" || len(p.ran) > 0 {
				t.Errorf("ran %v; problems, want - got +:\n%s", p.ran, diff)
			}
		})
	}
}

func TestSecretsThatExistNeedNoVariable(t *testing.T) {
	root := repository(t)
	p := deployed(t, root)
	tgt := target(t, p, root, func(o *cloudrun.Options) { o.Getenv = func(string) string { return "" } })
	if planned := plan(t, tgt); !planned.Empty() {
		t.Errorf("changes %v", changes(planned))
	}
}

func TestPlanTellsWhatCanNotBeRead(t *testing.T) {
	root := repository(t)
	whole := deployed(t, root)
	for _, words := range []string{"service-accounts list", "repositories list", "databases list", "ttls list", "secrets list", "versions list",
		"projects get-iam-policy", "secrets get-iam-policy", "repositories get-iam-policy", "tags list", "run services list", "jobs list"} {
		t.Run(words, func(t *testing.T) {
			p := whole.clone(t)
			tgt := target(t, p, root)
			if err := tgt.Prepare(t.Context()); err != nil {
				t.Fatal(err)
			}
			p.refuse = words
			if _, err := deploy.Look(t.Context(), tgt.Steps()); !deploy.Said(err, "PERMISSION_DENIED") {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestDestroy(t *testing.T) {
	root := repository(t)
	tests := map[string]struct {
		change []setting
		// left is what is still there: how many secrets, databases and repositories.
		left  [3]int
		notes []string
	}{
		"data is kept": {left: [3]int{6, 1, 1}, notes: []string{
			"kept: the secrets, the images in repository lrcp-prod, and the Firestore database lrcp-prod",
		}},
		"everything goes": {change: []setting{purge}},
		"but for others' database": {
			change: []setting{purge, param("database", "(default)")}, left: [3]int{0, 1, 0},
			notes: []string{"kept: the Firestore database (default), which may hold more than ours"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			p := deployed(t, root, tc.change...)
			foreign := binding{Role: "roles/owner", Members: []string{"user:ops@acme.example"}}
			p.policies["projects "+projectID] = append(p.policies["projects "+projectID], foreign)
			destroy := func() deploy.Plan {
				planned, err := deploy.Look(t.Context(), target(t, p, root, tc.change...).DestroySteps())
				if err != nil {
					t.Fatal(err)
				}
				return planned
			}
			planned := destroy()
			for _, note := range tc.notes {
				if !strings.Contains(planned.Text(false), note) {
					t.Errorf("no note %q in\n%s", note, planned.Text(false))
				}
			}
			if report := apply(t, p, planned); report.Err != nil {
				t.Fatal(report.Text("again"))
			}
			if got := [3]int{len(p.secrets), len(p.databases), len(p.repos)}; got != tc.left {
				t.Errorf("secrets, databases, repositories %v, want %v", got, tc.left)
			}
			if len(p.services)+len(p.jobs)+len(p.accounts) > 0 {
				t.Errorf("left: %s", p.state())
			}
			if diff := cmp.Diff([]binding{foreign}, p.policies["projects "+projectID]); diff != "" {
				t.Errorf("policy of the project, want - got +:\n%s", diff)
			}
			if again := destroy(); !again.Empty() {
				t.Errorf("then there is still %v", changes(again))
			}
			// And it can all be made again.
			if report := apply(t, p, plan(t, target(t, p, root, tc.change...))); report.Err != nil {
				t.Error(report.Text("again"))
			}
		})
	}
}

func TestDestroyGoesOnAfterAFailureAtEachCommand(t *testing.T) {
	root := repository(t)
	whole := deployed(t, root, purge)
	for i := 1; ; i++ {
		p := whole.clone(t)
		p.failAt = i
		planned, err := deploy.Look(t.Context(), target(t, p, root, purge).DestroySteps())
		if err != nil {
			t.Fatal(err)
		}
		if report := apply(t, p, planned); report.Err == nil {
			if i < 40 {
				t.Fatalf("only %d commands", i-1)
			}
			return
		}
		planned, err = deploy.Look(t.Context(), target(t, p, root, purge).DestroySteps())
		if err != nil {
			t.Fatal(err)
		}
		if report := apply(t, p, planned); report.Err != nil {
			t.Fatalf("cut at command %d: %s", i, report.Text("again"))
		}
		if len(p.services)+len(p.jobs)+len(p.accounts)+len(p.secrets)+len(p.databases)+len(p.repos) > 0 {
			t.Fatalf("cut at command %d: %s", i, p.state())
		}
	}
}

func TestURLs(t *testing.T) {
	root := repository(t)
	p := newProject(t)
	p.apis = []string{"run.googleapis.com"}
	if urls, err := target(t, p, root).URLs(t.Context()); err != nil || len(urls) > 0 {
		t.Errorf("nothing is deployed: %v, %v", urls, err)
	}
	p = deployed(t, root)
	p.services["lrcp-prod-qa"]["metadata"] = map[string]any{"name": "lrcp-prod-qa"}
	if _, err := target(t, p, root).URLs(t.Context()); err == nil || !strings.Contains(err.Error(), "lrcp-prod-qa is at https://lrcp-prod-qa-abc-ew.a.run.app") {
		t.Errorf("error %v for a service that is elsewhere", err)
	}
}

// TestRealSources names the images of this repository.
func TestRealSources(t *testing.T) {
	p := newProject(t)
	const stage = "test-sources"
	t.Cleanup(func() {
		if err := os.RemoveAll(filepath.Join("../..", "build", "cloudrun", stage)); err != nil {
			t.Error(err)
		}
	})
	tgt := target(t, p, "../..", func(o *cloudrun.Options) { o.Stage = stage })
	planned := plan(t, tgt)
	images := map[string]bool{}
	for _, s := range planned {
		if strings.HasPrefix(s.Name, "image ") {
			images[s.Details[0][strings.LastIndex(s.Details[0], ":"):]] = true
		}
	}
	if len(images) != len(manifest.Functions()) {
		t.Errorf("%d functions, tags %v", len(manifest.Functions()), slices.Collect(maps.Keys(images)))
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := cloudrun.New(cloudrun.Options{Root: ".", Stage: "prod"}); err == nil {
		t.Error("a target without a runner")
	}
}
