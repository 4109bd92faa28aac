package bolt_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/control/bolt"
	"github.com/llm-reliability/control-plane/shared/control/controltest"
)

// writerPath, when set, makes the test binary the victim of TestAcknowledgedCommitsSurviveKill.
const writerPath = "BOLT_TEST_WRITER_PATH"

func TestMain(m *testing.M) {
	if path := os.Getenv(writerPath); path != "" {
		if err := commitForever(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// commitForever commits one override after the other and prints the ID of each when its commit returned.
func commitForever(path string) error {
	store, err := bolt.Open(bolt.Options{Path: path})
	if err != nil {
		return err
	}
	ctx := context.Background()
	for i := 0; ; i++ {
		state, err := store.State(ctx, time.Now())
		if err != nil {
			return err
		}
		o := override(fmt.Sprintf("override-%d", i))
		if err := store.Commit(ctx, state.Version, []control.Override{o}); err != nil {
			return err
		}
		fmt.Println(o.ID)
	}
}

func override(id string) control.Override {
	now := time.Now()
	return control.Override{ID: id, Action: control.SwitchModel, Params: control.Params{Model: "economy"},
		Start: now, End: now.Add(time.Hour), Created: now, Source: control.Source{Kind: control.Monitor, Cycle: "c"}}
}

func open(t *testing.T, path string) *bolt.Store {
	t.Helper()
	store, err := bolt.Open(bolt.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func TestConformance(t *testing.T) {
	controltest.Conformance(t, func(t *testing.T) control.Store {
		return open(t, filepath.Join(t.TempDir(), "made", "state.db"))
	})
}

func TestDurable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	controltest.Durable(t, func(t *testing.T) control.Store { return open(t, path) })
}

func TestAcknowledgedCommitsSurviveKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	for round := range 3 {
		acknowledged := killWriter(t, path, 10+10*round)
		checkFile(t, path)
		store := open(t, path)
		for _, id := range acknowledged {
			if _, ok, err := store.Get(t.Context(), id); !ok || err != nil {
				t.Errorf("acknowledged %s after the kill: got %v, %v, want true, nil", id, ok, err)
			}
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// killWriter starts a process that commits, kills it after n acknowledged commits at whatever it is doing then, and
// returns every ID that it acknowledged.
func killWriter(t *testing.T, path string, n int) []string {
	t.Helper()
	writer := exec.CommandContext(t.Context(), os.Args[0])
	writer.Env = append(os.Environ(), writerPath+"="+path)
	var stderr strings.Builder
	writer.Stderr = &stderr
	stdout, err := writer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	var acknowledged []string
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		acknowledged = append(acknowledged, lines.Text())
		if len(acknowledged) == n {
			if err := writer.Process.Kill(); err != nil { // SIGKILL
				t.Fatal(err)
			}
		}
	}
	var exit *exec.ExitError
	if err := writer.Wait(); !errors.As(err, &exit) || exit.Exited() {
		t.Fatalf("writer was not killed but ended by itself: %v: %s", err, stderr.String())
	}
	return acknowledged
}

// checkFile runs bbolt's own check of every page.
func checkFile(t *testing.T, path string) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatalf("open after the kill: %v", err)
	}
	defer db.Close() //nolint:errcheck // only read
	if err := db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			t.Errorf("file after the kill: %v", err)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func TestOpenOfAHeldFileFailsInTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	held := open(t, path)
	defer held.Close() //nolint:errcheck // the test is over
	start := time.Now()
	_, err := bolt.Open(bolt.Options{Path: path, LockTimeout: 50 * time.Millisecond})
	if !errors.Is(err, control.ErrUnavailable) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("got %v, want ErrUnavailable that tells of the other process", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestOpenRefusesWhatIsNoState(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("not a database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bolt.Open(bolt.Options{Path: path}); err == nil {
		t.Error("open of a file of text: got nil, want an error")
	}
}

func BenchmarkCommit(b *testing.B) {
	store, err := bolt.Open(bolt.Options{Path: filepath.Join(b.TempDir(), "state.db")})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close() //nolint:errcheck // the benchmark is over
	for i := 0; b.Loop(); i++ {
		state, err := store.State(b.Context(), time.Now())
		if err != nil {
			b.Fatal(err)
		}
		o := override(fmt.Sprint(i))
		o.End = o.Created
		if err := store.Commit(b.Context(), state.Version, []control.Override{o}); err != nil {
			b.Fatal(err)
		}
	}
}
