package cloudrun

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llm-reliability/control-plane/infra/cloudrun/manifest"
	"github.com/llm-reliability/control-plane/infra/deploy"
)

// The files that say how an image is made, from the root of the repository.
const (
	dockerfile  = "infra/cloudrun/Dockerfile"
	buildConfig = "infra/cloudrun/cloudbuild.yaml"
)

// goPackage is what go list says of a package.
type goPackage struct {
	ImportPath          string
	Dir                 string
	GoFiles, EmbedFiles []string
	SFiles, HFiles      []string
	Deps                []string
	Module              *struct{ Main bool }
}

// tags returns a tag for the image of each function: a digest of everything that it is made from. Of this module that is the
// files that the compiler reads; other modules are named by go.sum, the compiler and the base by the Dockerfile.
func (t *Target) tags(ctx context.Context) (map[string]string, error) {
	// The tags of one that calls models make no difference to the packages of those that don't.
	build := strings.Join(t.settings.BuildTags("qa"), ",")
	list := deploy.Command{
		Name: "go", Dir: t.opts.Root, Env: []string{"GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0", "GOFLAGS=-mod=readonly"},
		Args: []string{"list", "-tags", build, "-deps", "-json=ImportPath,Dir,GoFiles,EmbedFiles,SFiles,HFiles,Deps,Module"},
	}
	for _, f := range manifest.Functions() {
		list.Args = append(list.Args, "./functions/"+f.Name+"/cmd")
	}
	// What decides on what is in an image, and what starts it, are parts of it, too.
	beside := [...]string{"infra/trim/cmd", "infra/timerslack"}
	for _, folder := range beside {
		list.Args = append(list.Args, "./"+folder)
	}
	out, err := t.opts.Runner.Run(ctx, list)
	if err != nil {
		return nil, err
	}
	ours := map[string]goPackage{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("read what go list says: %w", err)
		}
		if p.Module != nil && p.Module.Main {
			ours[p.ImportPath] = p
		}
	}
	in := func(folder string) (goPackage, error) {
		for _, p := range ours {
			if rel, err := filepath.Rel(t.opts.Root, p.Dir); err == nil && filepath.ToSlash(rel) == folder {
				return p, nil
			}
		}
		return goPackage{}, fmt.Errorf("go list does not know %s", folder)
	}
	var common []goPackage
	for _, folder := range beside {
		p, err := in(folder)
		if err != nil {
			return nil, err
		}
		common = append(common, p)
	}
	tags := map[string]string{}
	for _, f := range manifest.Functions() {
		main, err := in("functions/" + f.Name + "/cmd")
		if err != nil {
			return nil, err
		}
		if tags[f.Name], err = t.digest(f, slices.Concat(common, []goPackage{main}), ours); err != nil {
			return nil, err
		}
	}
	return tags, nil
}

// digest returns a digest of the files that commands are made from, short enough for a tag.
func (t *Target) digest(f manifest.Function, commands []goPackage, ours map[string]goPackage) (string, error) {
	files := []string{"go.mod", "go.sum", dockerfile}
	packages := map[string]bool{}
	for _, c := range commands {
		packages[c.ImportPath] = true
		for _, name := range c.Deps {
			packages[name] = true
		}
	}
	for name := range packages {
		p, ok := ours[name]
		if !ok {
			continue
		}
		dir, err := filepath.Rel(t.opts.Root, p.Dir)
		if err != nil {
			return "", fmt.Errorf("package %s: %w", name, err)
		}
		for _, file := range slices.Concat(p.GoFiles, p.EmbedFiles, p.SFiles, p.HFiles) {
			files = append(files, filepath.ToSlash(filepath.Join(dir, file)))
		}
	}
	slices.Sort(files)
	sum := sha256.New()
	fmt.Fprintf(sum, "tags %s\n", strings.Join(t.settings.BuildTags(f.Name), ","))
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(t.opts.Root, file))
		if err != nil {
			return "", fmt.Errorf("name the image: %w", err)
		}
		// Name and length stand before the content, so that no two sets of files are one text.
		fmt.Fprintf(sum, "%s %d\n", file, len(content))
		sum.Write(content)
	}
	const length = 16
	return hex.EncodeToString(sum.Sum(nil))[:length], nil
}

// images returns the images that the repository has, with their tags.
func (c *cloud) images(ctx context.Context) ([]string, error) {
	repositories, err := c.repositories(ctx)
	if err != nil || !slices.Contains(repositories, c.settings.Repository()) {
		return nil, err
	}
	var list []struct{ Image, Tag string }
	where := fmt.Sprintf("%s-docker.pkg.dev/%s/%s", c.settings.Region, c.settings.Project, c.settings.Repository())
	if err := c.decode(ctx, &list, apiRegistry, "artifacts", "docker", "tags", "list", where); err != nil {
		return nil, err
	}
	var images []string
	for _, l := range list {
		images = append(images, l.Image+":"+filepath.Base(l.Tag))
	}
	return images, nil
}

// image is the step that builds an image, unless it is there.
func (c *cloud) image(f manifest.Function) deploy.Step {
	return deploy.Step{Name: "image " + f.Name, Plan: func(ctx context.Context) (deploy.Change, error) {
		image := c.settings.Image(f.Name, c.prepared.tags[f.Name])
		images, err := c.images(ctx)
		if err != nil || slices.Contains(images, image) {
			return deploy.Change{Action: deploy.Unchanged}, err
		}
		return deploy.Change{
			Action: deploy.Create, Details: []string{image},
			Commands: []deploy.Command{c.here("builds", "submit", ".", "--config="+buildConfig, "--region="+c.settings.Region,
				"--service-account=projects/"+c.settings.Project+"/serviceAccounts/"+c.settings.Account(buildAccount),
				// Tags have commas between them, which gcloud would divide at.
				"--substitutions=^;^_FUNCTION="+f.Name+";_TAGS="+strings.Join(c.settings.BuildTags(f.Name), ",")+";_IMAGE="+image)},
		}, nil
	}}
}
