package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"

	"go.yaml.in/yaml/v4"
)

// Service is a service of Cloud Run, in the form that `gcloud run services replace` reads.
type Service struct {
	APIVersion string   `yaml:"apiVersion"`
	Kind       string   `yaml:"kind"`
	Metadata   Metadata `yaml:"metadata"`
	Spec       struct {
		Template struct {
			Metadata Metadata `yaml:"metadata"`
			Spec     Revision `yaml:"spec"`
		} `yaml:"template"`
		Traffic []Traffic `yaml:"traffic"`
	} `yaml:"spec"`
}

// Metadata is of a service, or of a revision.
type Metadata struct {
	Name        string            `yaml:"name,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

// Traffic says which revision gets how many percent of the requests.
type Traffic struct {
	LatestRevision bool `yaml:"latestRevision"`
	Percent        int  `yaml:"percent"`
}

// Revision is what an instance is made of.
type Revision struct {
	ServiceAccountName   string      `yaml:"serviceAccountName"`
	ContainerConcurrency int         `yaml:"containerConcurrency"`
	TimeoutSeconds       int         `yaml:"timeoutSeconds"`
	Containers           []Container `yaml:"containers"`
	Volumes              []Volume    `yaml:"volumes"`
}

// Container is one of an instance.
type Container struct {
	Name         string      `yaml:"name"`
	Image        string      `yaml:"image"`
	Ports        []Port      `yaml:"ports,omitempty"`
	Env          []EnvVar    `yaml:"env"`
	Resources    Resources   `yaml:"resources"`
	StartupProbe Probe       `yaml:"startupProbe"`
	VolumeMounts []VolumeRef `yaml:"volumeMounts"`
}

// Port is where a container takes requests.
type Port struct {
	Name          string `yaml:"name"`
	ContainerPort int    `yaml:"containerPort"`
}

// EnvVar is a variable: a value, or a secret.
type EnvVar struct {
	Name      string     `yaml:"name"`
	Value     string     `yaml:"value,omitempty"`
	ValueFrom *ValueFrom `yaml:"valueFrom,omitempty"`
}

// ValueFrom says which version of which secret.
type ValueFrom struct {
	SecretKeyRef struct {
		Name string `yaml:"name"`
		Key  string `yaml:"key"`
	} `yaml:"secretKeyRef"`
}

// Resources bound a container.
type Resources struct {
	Limits struct {
		CPU    string `yaml:"cpu"`
		Memory string `yaml:"memory"`
	} `yaml:"limits"`
}

// Probe tells that a container is up: it is when a port is open.
type Probe struct {
	TCPSocket struct {
		Port int `yaml:"port"`
	} `yaml:"tcpSocket"`
	PeriodSeconds    int `yaml:"periodSeconds"`
	TimeoutSeconds   int `yaml:"timeoutSeconds"`
	FailureThreshold int `yaml:"failureThreshold"`
}

// VolumeRef is where a volume is in a container.
type VolumeRef struct {
	Name      string `yaml:"name"`
	MountPath string `yaml:"mountPath"`
}

// Volume is a folder in memory.
type Volume struct {
	Name     string `yaml:"name"`
	EmptyDir struct {
		Medium    string `yaml:"medium"`
		SizeLimit string `yaml:"sizeLimit"`
	} `yaml:"emptyDir"`
}

// Names inside a service.
const (
	mainContainer    = "function"
	sidecarContainer = "datadog"
	sharedVolume     = "shared-volume"
	mountPath        = "/shared-volume"
	logFolder        = mountPath + "/logs"
	servingPort      = 8080
	healthPort       = 12345

	// Digest is the annotation by which a service tells what it was rendered as.
	Digest = "lrcp-manifest-digest"
)

// Render returns the service of a function, with its image and the version of each secret, by the secret's name in Secret
// Manager. What Cloud Run would refuse is an error.
func Render(s Settings, f Function, image string, versions map[string]int) (Service, error) {
	svc := Service{APIVersion: "serving.knative.dev/v1", Kind: "Service"}
	labels := map[string]string{"service": DatadogService, "lrcp-stage": s.Stage, "lrcp-function": f.Name}
	svc.Metadata = Metadata{Name: s.Name(f.Name), Labels: labels, Annotations: map[string]string{
		"run.googleapis.com/ingress":              "all",
		"run.googleapis.com/invoker-iam-disabled": "true",
	}}
	t := &svc.Spec.Template
	t.Metadata = Metadata{Labels: labels, Annotations: map[string]string{
		"autoscaling.knative.dev/minScale":          "0",
		"autoscaling.knative.dev/maxScale":          strconv.Itoa(f.MaxInstances),
		"run.googleapis.com/container-dependencies": fmt.Sprintf(`{%q:[%q]}`, mainContainer, sidecarContainer),
		"run.googleapis.com/cpu-throttling":         strconv.FormatBool(s.RequestCPU),
		"run.googleapis.com/execution-environment":  "gen1",
		"run.googleapis.com/startup-cpu-boost":      "true",
	}}
	t.Spec = Revision{
		ServiceAccountName:   s.Account(f.Name),
		ContainerConcurrency: f.Concurrency,
		TimeoutSeconds:       int((f.Timeout + answerTime).Seconds()),
		Containers:           []Container{s.function(f, image, versions), s.sidecar(f, versions)},
		Volumes:              []Volume{{Name: sharedVolume}},
	}
	// The log file begins anew at 16 MB.
	t.Spec.Volumes[0].EmptyDir.Medium, t.Spec.Volumes[0].EmptyDir.SizeLimit = "Memory", "64Mi"
	svc.Spec.Traffic = []Traffic{{LatestRevision: true, Percent: 100}}
	text, err := svc.YAML()
	if err != nil {
		return Service{}, err
	}
	sum := sha256.Sum256(text)
	svc.Metadata.Annotations[Digest] = hex.EncodeToString(sum[:])
	return svc, svc.Check(s.ProjectNumber)
}

// YAML returns the document.
func (svc Service) YAML() ([]byte, error) {
	text, err := yaml.Dump(svc, yaml.WithV3Defaults(), yaml.WithIndent(2))
	if err != nil {
		return nil, fmt.Errorf("render service %s: %w", svc.Metadata.Name, err)
	}
	return text, nil
}

func (s Settings) function(f Function, image string, versions map[string]int) Container {
	return Container{
		Name: mainContainer, Image: image,
		Ports:        []Port{{Name: "http1", ContainerPort: servingPort}},
		Env:          append(s.env(f), s.references(s.own(f), versions)...),
		Resources:    limits("1", "512Mi"),
		StartupProbe: up(servingPort),
		VolumeMounts: []VolumeRef{{sharedVolume, mountPath}},
	}
}

// up is the probe of a container that opens a port when it works: a function does so when its configuration is found right.
// It has the form of Cloud Run's own probe, one long attempt, which ends as soon as the port is open, where shorter ones would
// add up to a period of theirs to a cold start. It does not ask /health: that takes two seconds while the control state can't
// be reached, and then no instance must be kept from starting.
func up(port int) Probe {
	const most = 60
	p := Probe{PeriodSeconds: most, TimeoutSeconds: most, FailureThreshold: 1}
	p.TCPSocket.Port = port
	return p
}

func (s Settings) sidecar(f Function, versions map[string]int) Container {
	return Container{
		Name: sidecarContainer, Image: Sidecar,
		Env: append(variables(map[string]string{
			"DD_SERVICE":             DatadogService,
			"DD_ENV":                 s.Environment,
			"DD_VERSION":             s.Version,
			"DD_SITE":                s.Site,
			"DD_SOURCE":              "go",
			"DD_HEALTH_PORT":         strconv.Itoa(healthPort),
			"DD_SERVERLESS_LOG_PATH": logFolder + "/*.log",
			// By this the sidecar tells a function from another service.
			"FUNCTION_TARGET": f.Name,
		}), s.references([]Secret{datadogAPIKey}, versions)...),
		Resources:    limits("1", "512Mi"),
		StartupProbe: up(healthPort),
		VolumeMounts: []VolumeRef{{sharedVolume, mountPath}},
	}
}

// references returns variables that are read from Secret Manager.
func (s Settings) references(secrets []Secret, versions map[string]int) []EnvVar {
	var vars []EnvVar
	for _, secret := range secrets {
		from := &ValueFrom{}
		from.SecretKeyRef.Name = s.SecretName(secret)
		from.SecretKeyRef.Key = strconv.Itoa(versions[s.SecretName(secret)])
		vars = append(vars, EnvVar{Name: secret.Variable, ValueFrom: from})
	}
	return vars
}

func limits(cpu, memory string) Resources {
	var r Resources
	r.Limits.CPU, r.Limits.Memory = cpu, memory
	return r
}
