package serverless

import "net/http"

// anyOf accepts what one of several authenticators accepts.
type anyOf []Authenticator

// AnyOf returns an Authenticator that accepts a request which any of the given ones accepts, in their order; nil ones are
// left out. With none, nobody is accepted.
func AnyOf(authenticators ...Authenticator) Authenticator {
	var out anyOf
	for _, a := range authenticators {
		if a != nil {
			out = append(out, a)
		}
	}
	return out
}

// Authenticate implements Authenticator with the caller's name by the first that knows the request.
func (a anyOf) Authenticate(r *http.Request) (string, bool) {
	for _, auth := range a {
		if caller, ok := auth.Authenticate(r); ok {
			return caller, true
		}
	}
	return "", false
}
