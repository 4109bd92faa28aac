package bounded_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/llm-reliability/control-plane/shared/llm/internal/bounded"
)

func TestBody(t *testing.T) {
	for name, tt := range map[string]struct {
		length int64
		want   int64
		err    error
	}{
		"nothing":                       {0, 0, nil},
		"an answer":                     {1000, 1000, nil},
		"one that is just short enough": {bounded.Most, bounded.Most, nil},
		"one that is too long by one":   {bounded.Most + 1, bounded.Most, bounded.ErrTooLong},
		"one without end":               {1 << 40, bounded.Most, bounded.ErrTooLong},
	} {
		t.Run(name, func(t *testing.T) {
			b := bounded.Body(io.NopCloser(io.LimitReader(endless{}, tt.length)))
			n, err := io.Copy(io.Discard, b)
			if n != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("read %d bytes and %v, want %d and %v", n, err, tt.want, tt.err)
			}
		})
	}
}

func TestErrorsOfABodyAreHandedOn(t *testing.T) {
	_, err := io.ReadAll(bounded.Body(io.NopCloser(io.MultiReader(strings.NewReader("x"), broken{}))))
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want what broke the body", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
