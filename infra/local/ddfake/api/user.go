package api

import (
	"net/http"
	"slices"
)

// userRoutes adds the endpoints of users: there is no kind of asset that makes one.
func (a *API) userRoutes() {
	a.route("GET /api/v2/users", route{handle: func(c *call) (int, any, error) {
		p, err := numbered(c.q, "page[number]", "page[size]", 10, 5000)
		if err != nil {
			return 0, nil, err
		}
		var found []any
		for _, u := range a.opts.Users {
			if f := c.q.Get("filter"); f == "" || contains(u.Email, f) || contains(u.Name, f) {
				found = append(found, a.user(u))
			}
		}
		return http.StatusOK, obj{
			"data": anys(cut(found, p)), "included": []any{},
			"meta": obj{"page": obj{"total_count": len(a.opts.Users), "total_filtered_count": len(found)}},
		}, nil
	}})
	a.route("GET /api/v2/users/{id}", route{handle: func(c *call) (int, any, error) {
		u, ok := a.known(c.param("id"))
		if !ok {
			return 0, nil, missing("User not found")
		}
		return http.StatusOK, obj{"data": a.user(u)}, nil
	}})
	a.route("GET /api/v2/current_user", route{handle: func(*call) (int, any, error) {
		return http.StatusOK, obj{"data": a.user(a.opts.Users[0])}, nil
	}})
}

// user is how the API shows a user.
func (a *API) user(u User) obj {
	return obj{"id": u.ID, "type": "users", "attributes": obj{
		"uuid": u.ID, "email": u.Email, "handle": u.Email, "name": u.Name, "title": nil, "icon": "", "status": "Active",
		"verified": true, "disabled": false, "service_account": false, "mfa_enabled": false, "last_login_time": nil,
	}, "relationships": obj{"roles": obj{"data": []any{}}, "org": obj{"data": obj{"id": "0c9a0000-0000-4000-8000-000000000001", "type": "orgs"}}}}
}

// known returns the user of an id.
func (a *API) known(id string) (User, bool) {
	i := slices.IndexFunc(a.opts.Users, func(u User) bool { return u.ID == id })
	if i < 0 {
		return User{}, false
	}
	return a.opts.Users[i], true
}
