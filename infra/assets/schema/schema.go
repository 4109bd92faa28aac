// Package schema checks request bodies against Datadog's own OpenAPI description, which ships in the Go module of
// Datadog's API client. The description is read where the module lies; nothing of it is compiled or copied.
//
// It judges form only: keys, types, enums, bounds, patterns. What a body means is the business of package check.
// Differences from a plain OpenAPI validator:
//
//	here                                              a plain validator
//	----------------------------------------------    ---------------------------------------------------------
//	unknown keys are refused in every object that     only where additionalProperties is false, which is one
//	lists its properties                              object in a hundred; Datadog drops or keeps others silently
//	read-only keys are refused                        accepted in a body that is sent as well
//	oneOf: the problems of the branch that was meant  the message names the first branch
//	known defects of the description are repaired,    valid bodies are refused
//	see Defects
//	a pattern is as ECMA-262 has it                   RE2, which refuses some of Datadog's patterns
//	of several branches that all match, one is        refused
//	enough: Datadog's branches overlap
package schema

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"golang.org/x/sync/errgroup"
)

// Module is the Go module that carries the description.
const Module = "github.com/DataDog/datadog-api-client-go/v2"

// Options say where the description is.
type Options struct {
	// Dir is the directory of the module Module; found with the go command when empty.
	Dir string
	// KeepDefects leaves the known defects of the description as they are. It is for the test that each still exists.
	KeepDefects bool
}

// Description is Datadog's OpenAPI description, versions 1 and 2. It is safe for concurrent use.
type Description struct {
	docs    map[string]*openapi3.T
	repairs map[*openapi3.Schema]repair
}

// Problem is one way in which a body does not follow its schema.
type Problem struct {
	// Path leads to the value, such as data.attributes.steps[2].name; it is empty for the body itself.
	Path   string
	Reason string
}

// String returns the problem as one line.
func (p Problem) String() string {
	if p.Path == "" {
		return p.Reason
	}
	return p.Path + ": " + p.Reason
}

// ErrNotFound says that the module with the description is not on this machine.
var ErrNotFound = errors.New("the module with Datadog's OpenAPI description is not here; get it with: go mod download " + Module)

// cache keeps each directory's description, since reading it takes a second. It only ever gains entries, and what is in
// it does not change.
var cache struct {
	sync.Mutex
	docs map[string]map[string]*openapi3.T
}

// Load reads the description, once per process and directory. The error wraps ErrNotFound when it isn't there.
func Load(ctx context.Context, o Options) (*Description, error) {
	dir := o.Dir
	if dir == "" {
		found, err := moduleDir(ctx)
		if err != nil {
			return nil, err
		}
		dir = found
	}
	cache.Lock()
	defer cache.Unlock()
	docs, ok := cache.docs[dir]
	if !ok {
		read, err := readDocs(dir)
		if err != nil {
			return nil, err
		}
		docs = read
		if cache.docs == nil {
			cache.docs = map[string]map[string]*openapi3.T{}
		}
		cache.docs[dir] = docs
	}
	d := &Description{docs: docs, repairs: map[*openapi3.Schema]repair{}}
	if o.KeepDefects {
		return d, nil
	}
	for _, defect := range defects {
		s, err := d.property(defect.API, defect.Schema, defect.Property)
		if err != nil {
			return nil, fmt.Errorf("repair Datadog's OpenAPI description: %w", err)
		}
		d.repairs[s] = defect.repair
	}
	return d, nil
}

// moduleDir asks the go command where the module is.
func moduleDir(ctx context.Context) (string, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", Module)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	dir := strings.TrimSpace(string(out))
	if err != nil {
		return "", fmt.Errorf("find the module %s: %w: %s: %w", Module, err, bytes.TrimSpace(stderr.Bytes()), ErrNotFound)
	}
	if dir == "" {
		return "", ErrNotFound
	}
	return dir, nil
}

// readDocs reads both versions at once.
func readDocs(dir string) (map[string]*openapi3.T, error) {
	versions := []string{"v1", "v2"}
	read := make([]*openapi3.T, len(versions))
	var g errgroup.Group
	for i, version := range versions {
		g.Go(func() error {
			file := filepath.Join(dir, ".generator", "schemas", version, "openapi.yaml")
			if _, err := os.Stat(file); err != nil {
				return fmt.Errorf("read %s: %w: %w", file, err, ErrNotFound)
			}
			doc, err := openapi3.NewLoader().LoadFromFile(file)
			if err != nil {
				return fmt.Errorf("read %s: %w", file, err)
			}
			read[i] = doc
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	docs := map[string]*openapi3.T{}
	for i, version := range versions {
		docs[version] = read[i]
	}
	return docs, nil
}

// named returns a schema by its name.
func (d *Description) named(api, name string) (*openapi3.Schema, error) {
	doc, ok := d.docs[api]
	if !ok {
		return nil, fmt.Errorf("there is no version %q of the API", api)
	}
	ref, ok := doc.Components.Schemas[name]
	if !ok || ref.Value == nil {
		return nil, fmt.Errorf("the description of API %s has no schema %s", api, name)
	}
	return ref.Value, nil
}

// property returns a schema, or that of one of its properties.
func (d *Description) property(api, name, property string) (*openapi3.Schema, error) {
	s, err := d.named(api, name)
	if err != nil || property == "" {
		return s, err
	}
	ref, ok := s.Properties[property]
	if !ok || ref.Value == nil {
		return nil, fmt.Errorf("schema %s of API %s has no property %s", name, api, property)
	}
	return ref.Value, nil
}

// Check reports every way in which a JSON body does not follow a schema, sorted by path. A schema that does not exist and a
// body that is not JSON are problems too.
func (d *Description) Check(api, schema string, body []byte) []Problem {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return []Problem{{Reason: fmt.Sprintf("not valid JSON: %v", err)}}
	}
	return d.CheckValue(api, schema, v)
}

// CheckValue is Check for a body that is decoded already; numbers may be json.Number, float64 or int.
func (d *Description) CheckValue(api, schema string, v any) []Problem {
	s, err := d.named(api, schema)
	if err != nil {
		return []Problem{{Reason: err.Error()}}
	}
	w := walker{repairs: d.repairs}
	found := w.value(s, v, "")
	problems := make([]Problem, len(found))
	for i, f := range found {
		problems[i] = f.Problem
		problems[i].Reason += suggestion(f.given, f.known)
	}
	slices.SortFunc(problems, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Reason, b.Reason))
	})
	return slices.Compact(problems)
}
