package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The forms that Cloud Run demands of names.
var (
	dnsLabel   = regexp.MustCompile(`^[a-z]([-a-z0-9]*[a-z0-9])?$`)
	labelKey   = regexp.MustCompile(`^[a-z][-_a-z0-9]{0,62}$`)
	labelValue = regexp.MustCompile(`^[-_a-z0-9]{0,63}$`)
	envName    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	imageName  = regexp.MustCompile(`^[a-z0-9.-]+/[a-z0-9._/-]+(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?(@sha256:[0-9a-f]{64})?$`)
)

// The limits of Cloud Run: https://cloud.google.com/run/quotas and the reference of its YAML.
const (
	longestName    = 49
	longestSegment = 63
	longestTimeout = 3600
	longestStart   = 240
	mostConcurrent = 1000
)

// reserved are the variables that Cloud Run sets by itself and accepts from nobody.
var reserved = []string{"PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"}

// Check returns everything about a service that Cloud Run would refuse, or that would start and not work. It knows the
// rules that are documented, and no more.
func (svc Service) Check(projectNumber string) error {
	var problems []error
	say := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("service "+svc.Metadata.Name+": "+format, args...))
	}
	name := svc.Metadata.Name
	if !dnsLabel.MatchString(name) || len(name) > longestName {
		say("a name has at most %d small letters, digits and hyphens, and begins with a letter", longestName)
	}
	if segment := name + "-" + projectNumber; len(segment) > longestSegment {
		say("it gets no address that is known before: %s has more than %d characters", segment, longestSegment)
	}
	t := svc.Spec.Template
	for _, labels := range []map[string]string{svc.Metadata.Labels, t.Metadata.Labels} {
		for _, key := range slices.Sorted(maps.Keys(labels)) {
			if !labelKey.MatchString(key) || !labelValue.MatchString(labels[key]) {
				say("label %s=%s: labels have small letters, digits, hyphens and underscores", key, labels[key])
			}
		}
	}
	if n := t.Spec.TimeoutSeconds; n < 1 || n > longestTimeout {
		say("timeoutSeconds %d is not between 1 and %d", n, longestTimeout)
	}
	if n := t.Spec.ContainerConcurrency; n < 1 || n > mostConcurrent {
		say("containerConcurrency %d is not between 1 and %d", n, mostConcurrent)
	}
	svc.checkContainers(say)
	svc.checkOrder(say)
	return errors.Join(problems...)
}

func (svc Service) checkContainers(say func(string, ...any)) {
	spec := svc.Spec.Template.Spec
	serving := 0
	names := map[string]bool{}
	for _, c := range spec.Containers {
		tell := func(format string, args ...any) { say("container "+c.Name+": "+format, args...) }
		if !dnsLabel.MatchString(c.Name) || names[c.Name] {
			tell("a name is a DNS label, and there once")
		}
		names[c.Name] = true
		serving += len(c.Ports)
		switch parts := imageName.FindStringSubmatch(c.Image); {
		case parts == nil:
			tell("%q is no image", c.Image)
		case parts[2] == "" && parts[1] == "" || parts[2] == "" && parts[1] == ":latest":
			tell("image %s is not pinned", c.Image)
		}
		checkEnv(c.Env, tell)
		if p := c.StartupProbe; p.PeriodSeconds < 1 || p.TimeoutSeconds < 1 || p.FailureThreshold < 1 ||
			p.TimeoutSeconds > p.PeriodSeconds || p.PeriodSeconds*p.FailureThreshold > longestStart {
			tell("the startup probe waits within its period, and %d seconds in all at most", longestStart)
		}
		if cpu, err := strconv.Atoi(c.Resources.Limits.CPU); err != nil || cpu < 1 {
			tell("less than one CPU would mean one request at a time")
		}
		for _, v := range spec.Volumes {
			if !slices.ContainsFunc(c.VolumeMounts, func(m VolumeRef) bool { return m.Name == v.Name }) {
				tell("volume %s is not mounted", v.Name)
			}
		}
		for _, m := range c.VolumeMounts {
			if !slices.ContainsFunc(spec.Volumes, func(v Volume) bool { return v.Name == m.Name }) {
				tell("there is no volume %s", m.Name)
			}
		}
	}
	if serving != 1 {
		say("%d ports, and one is where requests go", serving)
	}
}

func checkEnv(vars []EnvVar, say func(string, ...any)) {
	seen := map[string]bool{}
	for _, v := range vars {
		switch {
		case !envName.MatchString(v.Name):
			say("%q is no name of a variable", v.Name)
		case seen[v.Name]:
			say("variable %s is there twice", v.Name)
		case slices.Contains(reserved, v.Name) || strings.HasPrefix(v.Name, "X_GOOGLE_"):
			say("variable %s is Cloud Run's own", v.Name)
		case v.ValueFrom == nil && holdsSecret(v.Name):
			// Not its value: it may be a secret.
			say("variable %s has the name of a secret, which belongs into Secret Manager", v.Name)
		case v.ValueFrom != nil && v.Value != "":
			say("variable %s has a value and a secret", v.Name)
		}
		seen[v.Name] = true
		if v.ValueFrom == nil {
			continue
		}
		if n, err := strconv.Atoi(v.ValueFrom.SecretKeyRef.Key); err != nil || n < 1 {
			say("variable %s: secret %s has no version %q", v.Name, v.ValueFrom.SecretKeyRef.Name, v.ValueFrom.SecretKeyRef.Key)
		}
	}
}

// checkOrder wants the container that serves to wait for every other one, and that these tell when they are up.
func (svc Service) checkOrder(say func(string, ...any)) {
	var waits map[string][]string
	if err := json.Unmarshal([]byte(svc.Spec.Template.Metadata.Annotations["run.googleapis.com/container-dependencies"]), &waits); err != nil {
		say("the order of the containers can't be read: %v", err)
		return
	}
	for _, c := range svc.Spec.Template.Spec.Containers {
		if len(c.Ports) == 0 && len(waits[c.Name]) > 0 {
			say("container %s waits for another, which waits for it", c.Name)
		}
		for _, other := range svc.Spec.Template.Spec.Containers {
			if len(c.Ports) == 0 || other.Name == c.Name {
				continue
			}
			if !slices.Contains(waits[c.Name], other.Name) {
				say("container %s does not wait for %s", c.Name, other.Name)
			}
			if other.StartupProbe.TCPSocket.Port == 0 {
				say("container %s is waited for and has no startup probe", other.Name)
			}
		}
	}
}
