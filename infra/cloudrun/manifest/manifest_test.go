package manifest_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
	"google.golang.org/api/run/v1"

	"github.com/llm-reliability/control-plane/infra/cloudrun/manifest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// example are the settings of the golden files.
func example() manifest.Settings {
	return manifest.Settings{
		Project: "acme-llm", ProjectNumber: "123456789012", Region: "europe-west1", Stage: "prod", Environment: "production", Database: "lrcp-prod",
		ModelLocation: "europe-west1", Site: "datadoghq.eu", Version: "1.4.0",
	}
}

// versions has one for each secret.
func versions(s manifest.Settings) map[string]int {
	v := map[string]int{}
	for i, secret := range s.Secrets() {
		v[s.SecretName(secret)] = i + 1
	}
	return v
}

func render(t *testing.T, s manifest.Settings, name string) (manifest.Service, error) {
	t.Helper()
	i := slices.IndexFunc(manifest.Functions(), func(f manifest.Function) bool { return f.Name == name })
	if i < 0 {
		t.Fatalf("no function %s", name)
	}
	return manifest.Render(s, manifest.Functions()[i], s.Image(name, "0123456789ab"), versions(s))
}

func TestGolden(t *testing.T) {
	for _, f := range manifest.Functions() {
		t.Run(f.Name, func(t *testing.T) {
			svc, err := render(t, example(), f.Name)
			if err != nil {
				t.Fatal(err)
			}
			got, err := svc.YAML()
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", f.Name+".yaml")
			if *update {
				if err := os.WriteFile(file, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("want - got +; go test -update writes it anew:\n%s", diff)
			}
		})
	}
}

// cloudRun reads a document as Cloud Run's own client library does, and refuses what its API does not know.
func cloudRun(t *testing.T, svc manifest.Service) *run.Service {
	t.Helper()
	text, err := svc.YAML()
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(string(asJSON)))
	dec.DisallowUnknownFields()
	var read run.Service
	if err := dec.Decode(&read); err != nil {
		t.Fatalf("Cloud Run's API does not know it: %v", err)
	}
	return &read
}

// TestCloudRunReadsTheSame holds the document to the types of Cloud Run's API, and to what a deployment rests on.
func TestCloudRunReadsTheSame(t *testing.T) {
	s := example()
	accounts := map[string]bool{}
	for _, f := range manifest.Functions() {
		t.Run(f.Name, func(t *testing.T) {
			svc, err := render(t, s, f.Name)
			if err != nil {
				t.Fatal(err)
			}
			read := cloudRun(t, svc)
			spec := read.Spec.Template.Spec
			if accounts[spec.ServiceAccountName] {
				t.Errorf("%s is the account of another function too", spec.ServiceAccountName)
			}
			accounts[spec.ServiceAccountName] = true
			if limit := int64(f.Timeout.Seconds()); spec.TimeoutSeconds <= limit {
				t.Errorf("Cloud Run cuts off after %d s, and the function ends a request after %d s", spec.TimeoutSeconds, limit)
			}
			main, sidecar := spec.Containers[0], spec.Containers[1]
			if main.Ports[0].ContainerPort != 8080 || main.StartupProbe.TcpSocket.Port != 8080 || len(sidecar.Ports) > 0 {
				t.Errorf("ports: %+v", main)
			}
			for _, c := range spec.Containers {
				if value(c, "FUNCTION_TARGET") != f.Name || value(c, "DD_VERSION") != s.Version || c.VolumeMounts[0].MountPath != "/shared-volume" {
					t.Errorf("container %s: %+v", c.Name, c)
				}
			}
			if log := value(main, "LRCP_LOG_FILE"); filepath.Dir(log) != filepath.Dir(value(sidecar, "DD_SERVERLESS_LOG_PATH")) {
				t.Errorf("the sidecar reads other logs than %s", log)
			}
			if port := value(sidecar, "DD_HEALTH_PORT"); port != fmt.Sprint(sidecar.StartupProbe.TcpSocket.Port) {
				t.Errorf("the sidecar is healthy on port %s", port)
			}
			var referred []string
			for _, c := range spec.Containers {
				for _, e := range c.Env {
					if e.ValueFrom != nil && !slices.Contains(referred, e.ValueFrom.SecretKeyRef.Name) {
						referred = append(referred, e.ValueFrom.SecretKeyRef.Name)
					}
				}
			}
			var may []string
			for _, secret := range s.SecretsOf(f) {
				may = append(may, s.SecretName(secret))
			}
			slices.Sort(referred)
			slices.Sort(may)
			if diff := cmp.Diff(may, referred); diff != "" {
				t.Errorf("secrets, may read - reads +:\n%s", diff)
			}
		})
	}
}

func value(c *run.Container, name string) string {
	for _, e := range c.Env {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

// TestSchedulesAndTheirFunctionsAgree holds what Cloud Scheduler sends against what functions accept.
func TestSchedulesAndTheirFunctionsAgree(t *testing.T) {
	s := example()
	var scheduled []string
	for _, f := range manifest.Functions() {
		svc, err := render(t, s, f.Name)
		if err != nil {
			t.Fatal(err)
		}
		main := cloudRun(t, svc).Spec.Template.Spec.Containers[0]
		audience, identity := value(main, "LRCP_SCHEDULE_AUDIENCE"), value(main, "LRCP_SCHEDULE_IDENTITY")
		if f.Job == nil {
			if audience != "" || identity != "" {
				t.Errorf("%s would accept a schedule that it has not", f.Name)
			}
			continue
		}
		scheduled = append(scheduled, f.Name)
		if audience != s.URL(f.Name) || identity != "lrcp-prod-scheduler@acme-llm.iam.gserviceaccount.com" {
			t.Errorf("%s accepts %s for %s", f.Name, identity, audience)
		}
	}
	if diff := cmp.Diff([]string{"escalation", "insights", "probe"}, scheduled); diff != "" {
		t.Errorf("schedules, want - got +:\n%s", diff)
	}
	if want := "https://lrcp-prod-insights-123456789012.europe-west1.run.app"; s.URL("insights") != want {
		t.Errorf("URL %s, want %s", s.URL("insights"), want)
	}
}

func TestEveryFunctionIsInTheTable(t *testing.T) {
	mains, err := filepath.Glob("../../../functions/*/cmd")
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, dir := range mains {
		want = append(want, filepath.Base(filepath.Dir(dir)))
	}
	for _, f := range manifest.Functions() {
		got = append(got, f.Name)
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("functions, want - got +:\n%s", diff)
	}
}

func TestTheRouteOfModelsDecidesWhatIsNeeded(t *testing.T) {
	tests := map[string]struct {
		provider string
		vertex   bool
		openai   bool
	}{
		"the default route":             {"", true, false},
		"Google's current SDK":          {"genai", true, false},
		"OpenAI alone":                  {"openai", false, true},
		"OpenAI where Vertex AI is out": {"vertexai, openai", true, true},
		"no model of anybody":           {"embedded", false, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := example()
			if tc.provider != "" {
				s.Env = map[string]string{"LRCP_PROVIDER": tc.provider}
			}
			svc, err := render(t, s, "diagnosis")
			if err != nil {
				t.Fatal(err)
			}
			main := cloudRun(t, svc).Spec.Template.Spec.Containers[0]
			if got := value(main, "GOOGLE_CLOUD_LOCATION") != ""; got != tc.vertex {
				t.Errorf("a location of Vertex AI: %v, want %v", got, tc.vertex)
			}
			key := slices.ContainsFunc(main.Env, func(e *run.EnvVar) bool { return e.Name == "OPENAI_API_KEY" && e.ValueFrom != nil })
			if key != tc.openai {
				t.Errorf("a key of OpenAI: %v, want %v", key, tc.openai)
			}
		})
	}
}

func TestDigestTellsWhatWasRendered(t *testing.T) {
	digest := func(change func(*manifest.Settings)) string {
		s := example()
		change(&s)
		svc, err := render(t, s, "qa")
		if err != nil {
			t.Fatal(err)
		}
		return svc.Metadata.Annotations[manifest.Digest]
	}
	same := digest(func(*manifest.Settings) {})
	if len(same) != 64 || same != digest(func(*manifest.Settings) {}) {
		t.Errorf("the digest %s is none, or another each time", same)
	}
	for name, change := range map[string]func(*manifest.Settings){
		"a version":  func(s *manifest.Settings) { s.Version = "1.4.1" },
		"the site":   func(s *manifest.Settings) { s.Site = "datadoghq.com" },
		"a variable": func(s *manifest.Settings) { s.Env = map[string]string{"LRCP_LOG_LEVEL": "debug"} },
		"the CPU":    func(s *manifest.Settings) { s.RequestCPU = true },
	} {
		if digest(change) == same {
			t.Errorf("%s changes no digest", name)
		}
	}
}

func TestRenderRefuses(t *testing.T) {
	set := func(name, value string) func(*manifest.Settings) {
		return func(s *manifest.Settings) { s.Env = map[string]string{name: value} }
	}
	tests := map[string]struct {
		change func(*manifest.Settings)
		want   string
	}{
		"a secret as a plain variable":            {set("OPENAI_API_KEY", "sk-1"), "OPENAI_API_KEY has the name of a secret"},
		"a variable of the deployment":            {set("LRCP_STATE", "bolt:/tmp/x"), "LRCP_STATE is there twice"},
		"a secret of the deployment":              {set("LRCP_API_KEYS", "a:b"), "LRCP_API_KEYS"},
		"a variable of Cloud Run":                 {set("PORT", "1"), "PORT is Cloud Run's own"},
		"a variable without a name":               {set("", "1"), `"" is no name`},
		"a name that shells can't have":           {set("A-B", "1"), `"A-B" is no name`},
		"a stage with capitals":                   {func(s *manifest.Settings) { s.Stage = "Prod" }, "small letters"},
		"a stage that makes no address":           {func(s *manifest.Settings) { s.Stage = strings.Repeat("a", 45) }, "known before"},
		"a project that can't be part of a image": {func(s *manifest.Settings) { s.Project = "a b" }, "is no image"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := example()
			tc.change(&s)
			_, err := render(t, s, "qa")
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v, want %q", err, tc.want)
			}
			if strings.Contains(err.Error(), "sk-1") {
				t.Errorf("the error tells a secret: %v", err)
			}
		})
	}
	_, err := manifest.Render(example(), manifest.Functions()[0], "image:latest", nil)
	for _, want := range []string{`"image:latest" is no image`, `lrcp-prod-api-keys has no version "0"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// TestCheck breaks a service that is right, at one place each.
func TestCheck(t *testing.T) {
	tests := map[string]struct {
		spoil func(*manifest.Service)
		want  string
	}{
		"an image that is not pinned": {func(s *manifest.Service) {
			s.Spec.Template.Spec.Containers[1].Image = "gcr.io/datadoghq/serverless-init"
		}, "is not pinned"},
		"the latest image": {func(s *manifest.Service) {
			s.Spec.Template.Spec.Containers[1].Image = "gcr.io/datadoghq/serverless-init:latest"
		}, "is not pinned"},
		"two ports": {func(s *manifest.Service) {
			s.Spec.Template.Spec.Containers[1].Ports = s.Spec.Template.Spec.Containers[0].Ports
		}, "2 ports"},
		"two containers of one name": {func(s *manifest.Service) {
			s.Spec.Template.Spec.Containers[1].Name = s.Spec.Template.Spec.Containers[0].Name
		}, "there once"},
		"no order of starting": {func(s *manifest.Service) {
			s.Spec.Template.Metadata.Annotations["run.googleapis.com/container-dependencies"] = "{}"
		}, "does not wait for datadog"},
		"an order that is no JSON": {func(s *manifest.Service) {
			s.Spec.Template.Metadata.Annotations["run.googleapis.com/container-dependencies"] = "function"
		}, "can't be read"},
		"a circle": {func(s *manifest.Service) {
			s.Spec.Template.Metadata.Annotations["run.googleapis.com/container-dependencies"] = `{"function":["datadog"],"datadog":["function"]}`
		}, "waits for another"},
		"nobody knows when the sidecar is up": {func(s *manifest.Service) { s.Spec.Template.Spec.Containers[1].StartupProbe.TCPSocket.Port = 0 }, "no startup probe"},
		"a probe that takes too long":         {func(s *manifest.Service) { s.Spec.Template.Spec.Containers[0].StartupProbe.FailureThreshold = 5 }, "startup probe"},
		"a volume in one container only":      {func(s *manifest.Service) { s.Spec.Template.Spec.Containers[1].VolumeMounts = nil }, "is not mounted"},
		"a volume that is not there":          {func(s *manifest.Service) { s.Spec.Template.Spec.Volumes = nil }, "no volume shared-volume"},
		"half a CPU":                          {func(s *manifest.Service) { s.Spec.Template.Spec.Containers[0].Resources.Limits.CPU = "500m" }, "one CPU"},
		"a timeout of more than an hour":      {func(s *manifest.Service) { s.Spec.Template.Spec.TimeoutSeconds = 3601 }, "timeoutSeconds"},
		"no request at a time":                {func(s *manifest.Service) { s.Spec.Template.Spec.ContainerConcurrency = 0 }, "containerConcurrency"},
		"a label with a dot":                  {func(s *manifest.Service) { s.Spec.Template.Metadata.Labels = map[string]string{"version": "1.0"} }, "label version=1.0"},
		"a secret without a version": {func(s *manifest.Service) {
			env := s.Spec.Template.Spec.Containers[1].Env
			env[len(env)-1].ValueFrom.SecretKeyRef.Key = "latest"
		}, `no version "latest"`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			svc, err := render(t, example(), "qa")
			if err != nil {
				t.Fatal(err)
			}
			tc.spoil(&svc)
			if err := svc.Check(example().ProjectNumber); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}
