package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// project is what gcloud's stand-in keeps: names by their kind, policies, services and jobs. It is not as strict as Google
// Cloud; that is the stand-in's part in the tests of infra/cloudrun.
type project struct {
	Names    map[string][]string
	Policies map[string][]policy
	Services map[string]any
	Jobs     map[string]any
}

type policy struct {
	Role      string            `json:"role"`
	Members   []string          `json:"members"`
	Condition map[string]string `json:"condition,omitempty"`
}

// gcloud is one call of gcloud, taken apart.
type gcloud struct {
	p     *project
	words []string
	flags map[string]string
}

func runGcloud(args []string) (string, error) {
	p := &project{Names: map[string][]string{}, Policies: map[string][]policy{}, Services: map[string]any{}, Jobs: map[string]any{}}
	if raw := content("project.json"); raw != "" {
		if err := json.Unmarshal([]byte(raw), p); err != nil {
			return "", err
		}
	}
	g := gcloud{p: p, flags: map[string]string{}}
	for _, arg := range args {
		if name, value, ok := strings.Cut(arg, "="); ok && strings.HasPrefix(name, "--") {
			g.flags[name] = value
		} else if !strings.HasPrefix(arg, "--") {
			g.words = append(g.words, arg)
		}
	}
	result, err := g.perform()
	if err != nil {
		return "", err
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(state("project.json"), raw, 0o600); err != nil {
		return "", err
	}
	if lines, ok := result.([]string); ok {
		return strings.Join(lines, "\n") + "\n", nil
	}
	return answer(result)
}

// has is whether the call begins with these words.
func (g gcloud) has(words string) bool {
	return strings.HasPrefix(strings.Join(g.words, " ")+" ", words+" ")
}

// add keeps a name of a kind.
func (g gcloud) add(kind string, names ...string) (any, error) {
	for _, name := range names {
		if slices.Contains(g.p.Names[kind], name) {
			return nil, fmt.Errorf("ALREADY_EXISTS: %s %s", kind, name)
		}
		g.p.Names[kind] = append(g.p.Names[kind], name)
	}
	return nil, nil
}

// named returns the names of a kind, as gcloud's JSON has them.
func (g gcloud) named(kind string) (any, error) {
	list := []any{}
	for _, name := range g.p.Names[kind] {
		list = append(list, map[string]any{"name": "projects/p/" + kind + "/" + name, "type": "FIRESTORE_NATIVE", "ttlConfig": map[string]string{"state": "ACTIVE"}})
	}
	return list, nil
}

func values(m map[string]any) (any, error) {
	list := []any{}
	for _, v := range m {
		list = append(list, v)
	}
	return list, nil
}

func (g gcloud) perform() (any, error) {
	last := g.words[len(g.words)-1]
	switch {
	case g.has("auth list"):
		return []string{"ops@acme.example"}, nil
	case g.has("projects describe"):
		return []string{"123456789012"}, nil
	case g.has("billing projects describe"):
		return []string{"True"}, nil
	case g.has("services list"):
		return g.p.Names["api"], nil
	case g.has("services enable"):
		return g.add("api", g.words[2:]...)
	case g.has("iam service-accounts list"):
		return g.p.Names["account"], nil
	case g.has("iam service-accounts create"):
		return g.add("account", last+"@"+g.flags["--project"]+".iam.gserviceaccount.com")
	case g.has("artifacts repositories list"):
		return g.named("repository")
	case g.has("artifacts repositories create"):
		return g.add("repository", last)
	case g.has("artifacts docker tags list"):
		list := []any{}
		for _, image := range g.p.Names["image"] {
			name, tag, _ := strings.Cut(image, ":")
			list = append(list, map[string]string{"image": name, "tag": tag})
		}
		return list, nil
	case g.has("builds submit"):
		_, image, _ := strings.Cut(g.flags["--substitutions"], "_IMAGE=")
		return g.add("image", image)
	case g.has("firestore databases list"):
		return g.named("database")
	case g.has("firestore databases create"):
		return g.add("database", g.flags["--database"])
	case g.has("firestore fields ttls list"):
		return g.named("ttl")
	case g.has("firestore fields ttls update"):
		return g.add("ttl", path.Join("collectionGroups", g.flags["--collection-group"], "fields", last))
	case g.has("secrets list"):
		return g.named("secret")
	case g.has("secrets versions list"):
		return []any{map[string]string{"name": "versions/1", "state": "ENABLED"}}, nil
	case g.has("secrets create"):
		return g.add("secret", last)
	case slices.Contains(g.words, "get-iam-policy"):
		return map[string]any{"bindings": g.p.Policies[last]}, nil
	case slices.Contains(g.words, "add-iam-policy-binding"):
		one := policy{Role: g.flags["--role"], Members: []string{g.flags["--member"]}}
		if text, ok := strings.CutPrefix(g.flags["--condition"], "expression="); ok {
			expression, title, _ := strings.Cut(text, ",title=")
			one.Condition = map[string]string{"expression": expression, "title": title}
		}
		g.p.Policies[last] = append(g.p.Policies[last], one)
		return nil, nil
	case slices.Contains(g.words, "remove-iam-policy-binding"):
		g.p.Policies[last] = slices.DeleteFunc(g.p.Policies[last], func(one policy) bool {
			return one.Role == g.flags["--role"] && slices.Contains(one.Members, g.flags["--member"])
		})
		return nil, nil
	case g.has("run services list"):
		return values(g.p.Services)
	case g.has("run services replace"):
		return nil, g.replace(last)
	case g.has("scheduler jobs list"):
		return values(g.p.Jobs)
	case g.has("scheduler jobs create http"):
		headers := map[string]string{}
		for pair := range strings.SplitSeq(g.flags["--headers"], ",") {
			name, value, _ := strings.Cut(pair, "=")
			headers[name] = value
		}
		g.p.Jobs[last] = map[string]any{
			"name": "jobs/" + last, "state": "ENABLED", "schedule": g.flags["--schedule"], "timeZone": g.flags["--time-zone"],
			"attemptDeadline": g.flags["--attempt-deadline"],
			"httpTarget": map[string]any{
				"uri": g.flags["--uri"], "httpMethod": strings.ToUpper(g.flags["--http-method"]), "headers": headers,
				"oidcToken": map[string]string{"serviceAccountEmail": g.flags["--oidc-service-account-email"], "audience": g.flags["--oidc-token-audience"]},
			},
		}
		return nil, nil
	case g.has("run services delete"):
		delete(g.p.Services, last)
		return nil, nil
	case g.has("scheduler jobs delete"):
		delete(g.p.Jobs, last)
		return nil, nil
	case g.has("iam service-accounts delete"):
		g.p.Names["account"] = slices.DeleteFunc(g.p.Names["account"], func(name string) bool { return name == last })
		return nil, nil
	}
	return nil, fmt.Errorf("gcloud: the stand-in knows no %s", strings.Join(g.words, " "))
}

// replace makes a service what a manifest says.
func (g gcloud) replace(file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var doc struct {
		Metadata struct {
			Name        string
			Annotations map[string]string
		}
	}
	if err := yaml.Unmarshal(raw, &doc); err != nil || doc.Metadata.Name == "" {
		return errors.Join(err, errors.New("no service"))
	}
	g.p.Services[doc.Metadata.Name] = map[string]any{
		"metadata": map[string]any{"name": doc.Metadata.Name, "annotations": doc.Metadata.Annotations},
		"status": map[string]any{
			"url":        fmt.Sprintf("https://%s-123456789012.%s.run.app", doc.Metadata.Name, g.flags["--region"]),
			"conditions": []any{map[string]string{"type": "Ready", "status": "True"}},
		},
	}
	return nil
}

// listPackages is go list: every command is a package of one file.
func listPackages() (string, error) {
	var out strings.Builder
	root, err := os.Getwd()
	if err != nil {
		return "", err
	}
	folders, err := filepath.Glob("functions/*/cmd")
	if err != nil {
		return "", err
	}
	for _, folder := range append(folders, "infra/trim/cmd", "infra/timerslack") {
		one, err := answer(map[string]any{
			"ImportPath": "m/" + folder, "Name": "main", "Dir": filepath.Join(root, folder), "GoFiles": []string{"main.go"},
			"Module": map[string]any{"Path": "m", "Main": true, "Dir": root},
		})
		if err != nil {
			return "", err
		}
		out.WriteString(one + "\n")
	}
	return out.String(), nil
}
