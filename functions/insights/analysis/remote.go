package analysis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/llm-reliability/control-plane/shared/control"
)

// maxDocument bounds what is read of an answer.
const maxDocument = 4 << 20

// Remediation lists the overrides that the function remediation tells of.
type Remediation struct {
	// URL is the address of the function, Secret what opens it; both are required.
	URL, Secret string
	// HTTP makes the call; required.
	HTTP *http.Client
}

var _ Overrides = Remediation{}

// Overrides implements the interface of that name.
func (r Remediation) Overrides(ctx context.Context) ([]control.Override, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(r.URL, "/")+"/remediation", http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("read overrides: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+r.Secret)
	resp, err := r.HTTP.Do(req)
	if err != nil {
		// The error of the client quotes the address, which is no secret, but longer than what it is about.
		if inner, ok := errors.AsType[*url.Error](err); ok {
			err = inner.Err
		}
		return nil, fmt.Errorf("read overrides: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read overrides: status %d", resp.StatusCode)
	}
	var doc struct {
		InForce []control.Override `json:"in_force"`
		History []control.Override `json:"history"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxDocument)).Decode(&doc); err != nil {
		return nil, fmt.Errorf("read overrides: %w", err)
	}
	return append(doc.InForce, doc.History...), nil
}
