package deploy

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/llm-reliability/control-plane/infra/assets"
)

// State is what was applied to one site: the identifiers that Datadog gave, and the bodies that were sent, without
// secrets. It is safe for concurrent use. Two deployments must not share a file at the same time.
type State struct {
	path string

	mu sync.Mutex
	in stored
	// sums are the digests that were computed.
	sums map[string]string
}

// stored is the state file.
type stored struct {
	Version int    `json:"version"`
	Site    string `json:"site"`
	// Salt is random, so that digests of the same secret differ between files.
	Salt []byte `json:"salt"`
	// Objects and Pending are by kind and key: monitor/error-burst. Pending are creates that were begun and whose end is
	// not recorded.
	Objects map[string]entry   `json:"objects"`
	Pending map[string]pending `json:"pending,omitempty"`
}

// entry is one object that is ours.
type entry struct {
	ID    string `json:"id"`
	Scope string `json:"scope,omitempty"`
	// Applied is the body that was sent last, with secrets hidden; it is absent for an object that was imported.
	Applied json.RawMessage `json:"applied,omitempty"`
	// Secrets are digests of the secrets in the body, by name.
	Secrets map[string]string `json:"secrets,omitempty"`
}

// pending is a create that was begun.
type pending struct {
	Name  string `json:"name"`
	Scope string `json:"scope,omitempty"`
}

const stateVersion = 1

// NewState returns a state that is kept in memory only, for a site that goes when the program goes.
func NewState(site string) (*State, error) {
	salt := make([]byte, 16)
	if _, err := rand.Read(salt); err != nil {
		return nil, fmt.Errorf("make a salt: %w", err)
	}
	return &State{in: stored{Version: stateVersion, Site: site, Salt: salt, Objects: map[string]entry{}, Pending: map[string]pending{}}, sums: map[string]string{}}, nil
}

// OpenState reads the state file of a site. A file that does not exist is an empty state, made by the first change.
func OpenState(path, site string) (*State, error) {
	s, err := NewState(site)
	if err != nil {
		return nil, err
	}
	s.path = path
	raw, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s, nil
	case err != nil:
		return nil, fmt.Errorf("read the state: %w", err)
	}
	var in stored
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, fmt.Errorf("read the state: %s is not a state file: %w", path, err)
	}
	switch {
	case in.Version != stateVersion:
		return nil, fmt.Errorf("read the state: %s is of version %d, and this program knows version %d", path, in.Version, stateVersion)
	case in.Site != site:
		return nil, fmt.Errorf("read the state: %s belongs to the site %s, not to %s; use a file for each site", path, in.Site, site)
	case len(in.Salt) < 16:
		return nil, fmt.Errorf("read the state: %s has no salt", path)
	}
	if in.Objects == nil {
		in.Objects = map[string]entry{}
	}
	if in.Pending == nil {
		in.Pending = map[string]pending{}
	}
	s.in = in
	return s, nil
}

// drop takes out other names of an object.
func (in *stored) drop(name string, e entry) {
	kind, _, _ := parseName(name)
	maps.DeleteFunc(in.Objects, func(other string, o entry) bool {
		k, _, _ := parseName(other)
		return other != name && k == kind && o.ID != "" && o.ID == e.ID && o.Scope == e.Scope
	})
}

// change changes the state and makes the change durable before it returns.
func (s *State) change(f func(*stored)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.in)
	if s.path == "" {
		return nil
	}
	raw, err := encode(s.in)
	if err != nil {
		return fmt.Errorf("encode the state: %w", err)
	}
	if err := replace(s.path, raw); err != nil {
		return fmt.Errorf("write the state: %w", err)
	}
	return nil
}

// encode returns JSON on one line, with texts as they are.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSpace(buf.Bytes()), err
}

// replace puts a file in the place of another at once, so that a crash leaves one or the other. Only its owner may read it.
func replace(path string, raw []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*") // It is made with mode 0600.
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// set records an object, and that its create is over. An object has one name: the one before goes.
func (s *State) set(name string, e entry) error {
	return s.change(func(in *stored) {
		in.drop(name, e)
		in.Objects[name] = e
		delete(in.Pending, name)
	})
}

// forget takes out an object that is gone, unless the name stands for another one by now.
func (s *State) forget(name, id string) error {
	if e, ok := s.entry(name); !ok || e.ID != id {
		return nil
	}
	return s.change(func(in *stored) { delete(in.Objects, name) })
}

// begin records that a create begins; over that it made nothing.
func (s *State) begin(name string, p pending) error {
	return s.change(func(in *stored) { in.Pending[name] = p })
}

func (s *State) over(name string) error {
	return s.change(func(in *stored) { delete(in.Pending, name) })
}

func (s *State) entry(name string) (entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.in.Objects[name]
	return e, ok
}

func (s *State) pending(name string) (pending, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.in.Pending[name]
	return p, ok
}

// nameFor returns the name of an object of a kind, or "".
func (s *State) nameFor(kind assets.Kind, id, scope string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, e := range s.in.Objects {
		if k, _, _ := parseName(name); k == kind && e.ID == id && e.Scope == scope {
			return name
		}
	}
	return ""
}

// names returns the objects, sorted.
func (s *State) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.in.Objects))
}

// digest returns what the state keeps of a secret. It is slow to compute, so that a short secret is not found by trying.
func (s *State) digest(secret string) (string, error) {
	const rounds = 20_000
	s.mu.Lock()
	defer s.mu.Unlock()
	if sum, ok := s.sums[secret]; ok {
		return sum, nil
	}
	raw, err := pbkdf2.Key(sha256.New, secret, s.in.Salt, rounds, 16)
	if err != nil {
		return "", fmt.Errorf("digest a secret: %w", err)
	}
	s.sums[secret] = base64.RawStdEncoding.EncodeToString(raw)
	return s.sums[secret], nil
}

// nameOf is how the state, plans and messages name an asset.
func nameOf(kind assets.Kind, key string) string { return string(kind) + "/" + key }

// parseName is the opposite of nameOf. ok is false for a name of no known kind, as a newer program may leave one.
func parseName(name string) (kind assets.Kind, key string, ok bool) {
	k, key, _ := strings.Cut(name, "/")
	return assets.Kind(k), key, assets.Kind(k).Known()
}
