package state_test

import (
	"errors"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/llm-reliability/control-plane/functions/wire/state"
	"github.com/llm-reliability/control-plane/shared/cache"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/control/dynamodb/dynamotest"
	"github.com/llm-reliability/control-plane/shared/emulatortest"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/outbox"
)

type vars map[string]string

func (v vars) get(name string) string { return v[name] }

// table serves a table of DynamoDB, to which the variables of AWS's SDK lead. The emulator of DynamoDB has no transactions.
func table(t *testing.T) string {
	t.Helper()
	const name = "lrcp"
	server := httptest.NewServer(&dynamotest.Table{Name: name})
	t.Cleanup(server.Close)
	for variable, value := range map[string]string{
		"AWS_ENDPOINT_URL_DYNAMODB": server.URL, "AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key",
	} {
		t.Setenv(variable, value)
	}
	return name
}

// TestInstancesHaveTheirStateInCommon has two instances of a deployment to each kind of state that several can share.
func TestInstancesHaveTheirStateInCommon(t *testing.T) {
	for name, vars := range map[string]func(t *testing.T) vars{
		"DynamoDB": func(t *testing.T) vars { return vars{"LRCP_STATE": "dynamodb:" + table(t)} },
		"Firestore": func(t *testing.T) vars {
			t.Setenv("FIRESTORE_EMULATOR_HOST", emulatortest.Firestore(t))
			return vars{"LRCP_STATE": "firestore:p/(default)", "FIRESTORE_EMULATOR_HOST": "set"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := vars(t)
			one, other := open(t, v), open(t, v)
			now := time.Now().UTC().Truncate(time.Millisecond)
			before, err := one.Control.State(t.Context(), now)
			if err != nil {
				t.Fatal(err)
			}
			o := control.Override{ID: "o1", Action: control.EnableCache, Start: now, End: now.Add(time.Hour), Created: now}
			if err := one.Control.Commit(t.Context(), before.Version, []control.Override{o}); err != nil {
				t.Fatal(err)
			}
			if after, err := other.Control.State(t.Context(), now); err != nil || len(after.Overrides) != 1 || after.Overrides[0].ID != "o1" {
				t.Errorf("the other instance sees %+v, %v; want the override", after.Overrides, err)
			}
			e := cache.Entry{Response: llm.Response{Text: "answer", Finish: llm.FinishStop}, Stored: now}
			if err := one.Shared.Put(t.Context(), "key", e, now.Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			if got, ok, err := other.Shared.Get(t.Context(), "key", now); err != nil || !ok || got.Response.Text != "answer" {
				t.Errorf("the other instance has %+v, %v, %v; want the answer", got, ok, err)
			}
			first, second := outboxOf(t, v), outboxOf(t, v)
			if _, err := first.Put(t.Context(), outbox.Record{Key: "work", Due: now, Expires: now.Add(time.Hour)}); err != nil {
				t.Fatal(err)
			}
			if due, err := second.Due(t.Context(), now, 10); err != nil || len(due) != 1 || due[0].Key != "work" {
				t.Errorf("the other instance has due %+v, %v; want the work", due, err)
			}
			v["LRCP_SHARED_CACHE"] = "off"
			if s := open(t, v); s.Shared != nil {
				t.Error("a shared cache was opened that is off")
			}
		})
	}
}

func TestStateInAFile(t *testing.T) {
	v := vars{"LRCP_STATE": "bolt:" + filepath.Join(t.TempDir(), "state.db")}
	s := open(t, v)
	if err := s.Control.Ping(t.Context()); err != nil || s.Shared != nil {
		t.Errorf("got %v and shared cache %v, want neither", err, s.Shared)
	}
	if err := outboxOf(t, v).Ping(t.Context()); err != nil {
		t.Errorf("the outbox beside it: %v", err)
	}
}

func outboxOf(t *testing.T, v vars) outbox.Store {
	t.Helper()
	e := env.New(v.get)
	store, err := state.FromEnv(e).OpenOutbox(t.Context(), "test")
	if err = errors.Join(e.Err(), err); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return store
}

func open(t *testing.T, v vars) state.State {
	t.Helper()
	e := env.New(v.get)
	c := state.FromEnv(e)
	if err := e.Err(); err != nil {
		t.Fatal(err)
	}
	s, err := c.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func TestStateThatCannotBe(t *testing.T) {
	const form = "configuration: LRCP_STATE must be bolt:<path>, dynamodb:<table> or firestore:<project>/<database>"
	for name, tt := range map[string]struct {
		vars vars
		want string
	}{
		"none":                         {vars{}, "configuration: LRCP_STATE is required"},
		"a kind that does not exist":   {vars{"LRCP_STATE": "redis:localhost"}, form},
		"a file without a path":        {vars{"LRCP_STATE": "bolt:"}, form},
		"a table without a name":       {vars{"LRCP_STATE": "dynamodb"}, form},
		"a database without a name":    {vars{"LRCP_STATE": "firestore:p"}, form},
		"a database without a project": {vars{"LRCP_STATE": "firestore:/d"}, form},
		"a shared cache that is half":  {vars{"LRCP_STATE": "dynamodb:t", "LRCP_SHARED_CACHE": "some"}, "configuration: LRCP_SHARED_CACHE must be one of on, off"},
	} {
		t.Run(name, func(t *testing.T) {
			e := env.New(tt.vars.get)
			state.FromEnv(e)
			if err := e.Err(); err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}
