// Package settings knows the values of placeholders that are no assets: choices of the organisation and the URLs of the
// deployed functions, from a file or the environment, and secrets, from the environment only.
//
//	settings:
//	  slack_channel: "#llm-reliability"
//	functions:
//	  qa: https://abc.lambda-url.eu-central-1.on.aws
//
// The same file has what a deployment to a cloud needs, in a section for each, with the names of Keys:
//
//	lambda:
//	  region: eu-central-1
//	  dd_api_key_arn: arn:aws:secretsmanager:eu-central-1:123456789012:secret:lrcp/dd-api-key-AbCdEf
//	cloudrun:
//	  project: acme-llm
//	  region: europe-west1
//
// The environment wins over the file: LRCP_SETTING_SLACK_CHANNEL, LRCP_FUNCTION_QA, LRCP_SECRET_CONTROL, LRCP_LAMBDA_REGION.
package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/llm-reliability/control-plane/infra/assets"
)

// Values are the values that are known.
type Values struct {
	settings, functions map[string]string
	clouds              map[string]map[string]string
	getenv              func(string) string
}

type document struct {
	Settings  map[string]string `yaml:"settings"`
	Functions map[string]string `yaml:"functions"`
	Lambda    map[string]string `yaml:"lambda"`
	CloudRun  map[string]string `yaml:"cloudrun"`
}

// Load reads the file, or none when path is empty. The error names every value that can't be used.
func Load(path string, getenv func(string) string) (*Values, error) {
	var raw []byte
	if path != "" {
		var err error
		if raw, err = os.ReadFile(path); err != nil {
			return nil, fmt.Errorf("read settings: %w", err)
		}
	}
	v, err := Parse(raw, getenv)
	if err != nil {
		return nil, fmt.Errorf("settings %s: %w", path, err)
	}
	return v, nil
}

// Parse reads what a file of settings holds.
func Parse(raw []byte, getenv func(string) string) (*Values, error) {
	var doc document
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	if err := dec.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		if strings.Contains(err.Error(), "field secrets not found") {
			return nil, errors.New("secrets are read from the environment only: LRCP_SECRET_CONTROL, for example")
		}
		return nil, err
	}
	v := &Values{
		settings: doc.Settings, functions: doc.Functions, getenv: getenv,
		clouds: map[string]map[string]string{Lambda: doc.Lambda, CloudRun: doc.CloudRun},
	}
	problems := slices.Concat(checkCloud(Lambda, doc.Lambda), checkCloud(CloudRun, doc.CloudRun))
	for _, name := range slices.Sorted(maps.Keys(doc.Functions)) {
		if err := checkURL(doc.Functions[name]); err != nil {
			problems = append(problems, fmt.Errorf("functions.%s: %w", name, err))
		}
	}
	return v, errors.Join(problems...)
}

// checkURL refuses what no function can have as its address.
func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("%q is no URL", text)
	}
	if strings.HasSuffix(u.Path, "/") || u.RawQuery != "" {
		return fmt.Errorf("%q ends with a slash or a query; paths are put behind it", text)
	}
	return nil
}

// Lookup returns the value of a placeholder; ok is false where there is none. An empty value is none.
func (v *Values) Lookup(kind, name string) (value string, ok bool) {
	switch kind {
	case assets.Setting:
		value = v.first("LRCP_SETTING_", name, v.settings)
	case assets.Function:
		function, property, _ := strings.Cut(name, ".")
		if property == "url" {
			value = v.first("LRCP_FUNCTION_", function, v.functions)
		}
	case assets.Secret:
		value = v.first("LRCP_SECRET_", name, nil)
	}
	return value, value != ""
}

func (v *Values) first(prefix, name string, file map[string]string) string {
	variable := prefix + strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(name))
	if value := v.getenv(variable); value != "" {
		return value
	}
	return file[name]
}
