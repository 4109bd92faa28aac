package httpjson

import "net/http"

// OpenAIDocument is an error in the form of the OpenAI API; see https://platform.openai.com/docs/guides/error-codes.
type OpenAIDocument struct {
	Error struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    *string `json:"code"`
	} `json:"error"`
}

// OpenAIError returns p in the form of the OpenAI API. The message names every bad field, since the form has room for
// one parameter only.
func OpenAIError(p *Problem) OpenAIDocument {
	var doc OpenAIDocument
	doc.Error.Message = p.Detail
	if doc.Error.Message == "" {
		doc.Error.Message = Title(p.Status)
	}
	for i, e := range p.Errors {
		if i == 0 {
			doc.Error.Param = &p.Errors[0].Field
			doc.Error.Message += ": "
		} else {
			doc.Error.Message += "; "
		}
		doc.Error.Message += e.Field + " " + e.Detail
	}
	if p.Code != "" {
		doc.Error.Code = &p.Code
	}
	switch {
	case p.Status == http.StatusUnauthorized:
		doc.Error.Type = "authentication_error"
	case p.Status == http.StatusForbidden:
		doc.Error.Type = "permission_error"
	case p.Status == http.StatusTooManyRequests:
		doc.Error.Type = "rate_limit_error"
	case p.Status >= 500:
		doc.Error.Type = "server_error"
	default:
		doc.Error.Type = "invalid_request_error"
	}
	return doc
}

// WriteOpenAIError sends p in the form of the OpenAI API; the request ID travels in the X-Request-Id header, as there.
func WriteOpenAIError(w http.ResponseWriter, p *Problem, requestID string) {
	if requestID != "" {
		w.Header().Set("X-Request-Id", requestID)
	}
	SetRetryAfter(w.Header(), p.RetryAfter)
	write(w, p.Status, "application/json", OpenAIError(p))
}
