package api

import (
	"cmp"
	"net/http"
)

// kind is one row of the table: where objects of a kind are, and what is special about them. Everything else is the same
// for all: create, get, list, update, delete.
type kind struct {
	// name is that of infra/assets.
	name string
	// path is that of the collection; item that of one object, with {id}, when it is not path/{id}.
	path, item string
	style      style
	logs       bool
	// api is the version whose description holds the schemas of the bodies of create and update.
	api, create, update string
	// method updates an object: PUT, PATCH, or "" when nothing does.
	method string
	// codes are the statuses of create, update and delete; zero where nothing deletes under this path.
	codes [3]int
	// id makes the identifier of a new object.
	id func(c *call) string
	// check judges a new object, or a changed one that takes the place of old, and fills in what the server makes.
	check func(c *call, o, old *object) error
	// merge returns the body that an update makes; nil when the body of the request replaces the old one.
	merge func(c *call, old *object) (obj, error)
	// view is how the API shows an object.
	view func(c *call, o *object) obj
	// wrap is what is around a view in an answer; nil when nothing is.
	wrap func(c *call, o *object, view obj) any
	// list answers with the objects of a list; nil when there is no list endpoint.
	list func(c *call, all []*object) (any, error)
	// free says why an object can't be deleted; it may be nil.
	free func(c *call, o *object) error
	// after is told of an object that was made or changed, and gone of one that was deleted; both may be nil.
	after func(c *call, o *object) error
	gone  func(c *call, o *object) error
	// left is the answer to a delete; nil is an empty one.
	left func(o *object) any
	// absent is the error of an object that is not there; nil is a plain 404.
	absent func(id string) error
	// params is for Seed.
	params func(body obj) map[string]string
	// visible says which objects the path shows, such as those of one user; nil is all.
	visible func(c *call, o *object) bool
}

// register adds the routes of a kind.
func (a *API) register(k kind) {
	a.kinds[k.name] = maker{create: k.doCreate, params: k.params}
	item := cmp.Or(k.item, k.path+"/{id}")
	add := func(pattern, schema string, h handler) {
		a.route(pattern, route{style: k.style, logs: k.logs, api: k.api, schema: schema, handle: h})
	}
	add("POST "+k.path, k.create, k.doCreate)
	add("GET "+item, "", k.doGet)
	if k.codes[2] != 0 {
		add("DELETE "+item, "", k.doDelete)
	}
	if k.list != nil {
		add("GET "+k.path, "", k.doList)
	}
	if k.method != "" {
		add(k.method+" "+item, cmp.Or(k.update, k.create), k.doUpdate)
	}
}

func (k kind) doCreate(c *call) (int, any, error) {
	o := &object{kind: k.name, id: k.id(c), body: clone(c.body), made: obj{}, created: c.now, changed: c.now, author: c.author}
	if err := k.check(c, o, nil); err != nil {
		return 0, nil, err
	}
	if err := c.commit(o); err != nil {
		return 0, nil, err
	}
	if k.after != nil {
		if err := k.after(c, o); err != nil {
			return 0, nil, err
		}
		c.id = o.id
	}
	return k.codes[0], k.show(c, o), nil
}

func (k kind) doGet(c *call) (int, any, error) {
	o, err := k.object(c)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, k.show(c, o), nil
}

func (k kind) doList(c *call) (int, any, error) {
	var seen []*object
	for _, o := range c.a.store.all(k.name) {
		if k.visible == nil || k.visible(c, o) {
			seen = append(seen, o)
		}
	}
	answer, err := k.list(c, seen)
	return http.StatusOK, answer, err
}

func (k kind) doUpdate(c *call) (int, any, error) {
	old, err := k.object(c)
	if err != nil {
		return 0, nil, err
	}
	if old.readOnly {
		return 0, nil, readOnly(old)
	}
	o := *old
	o.changed, o.made, o.body = c.now, clone(old.made), clone(c.body)
	if k.merge != nil {
		if o.body, err = k.merge(c, old); err != nil {
			return 0, nil, err
		}
	}
	if err := k.check(c, &o, old); err != nil {
		return 0, nil, err
	}
	if err := c.commit(&o); err != nil {
		return 0, nil, err
	}
	if k.after != nil {
		if err := k.after(c, &o); err != nil {
			return 0, nil, err
		}
	}
	return k.codes[1], k.show(c, &o), nil
}

func (k kind) doDelete(c *call) (int, any, error) {
	o, err := k.object(c)
	if err != nil {
		return 0, nil, err
	}
	if o.readOnly {
		return 0, nil, readOnly(o)
	}
	if k.free != nil {
		if err := k.free(c, o); err != nil {
			return 0, nil, err
		}
	}
	if err := c.a.drop(o); err != nil {
		return 0, nil, err
	}
	if k.gone != nil {
		if err := k.gone(c, o); err != nil {
			return 0, nil, err
		}
	}
	if k.left == nil {
		return k.codes[2], nil, nil
	}
	return k.codes[2], k.left(o), nil
}

// readOnly refuses a change of what is Datadog's own.
func readOnly(o *object) error {
	message := o.kind + " " + o.id + " is read-only"
	return &failure{status: http.StatusForbidden, messages: []string{message}, answer: plain.of(http.StatusForbidden, message)}
}

// object returns the object that the path names.
func (k kind) object(c *call) (*object, error) {
	id := c.param("id")
	o := c.a.store.get(k.name, id)
	switch {
	case o != nil && (k.visible == nil || k.visible(c, o)):
		return o, nil
	case k.absent != nil:
		return nil, k.absent(id)
	}
	return nil, missing("%s not found", id)
}

func (k kind) show(c *call, o *object) any {
	v := k.view(c, o)
	if k.wrap == nil {
		return v
	}
	return k.wrap(c, o, v)
}

// inData wraps a view as most of version 2 of the API does.
func inData(_ *call, _ *object, view obj) any { return obj{"data": view} }

// resource returns a JSON:API resource of an object.
func resource(o *object, typ string, attributes obj) obj {
	return obj{"id": o.id, "type": typ, "attributes": attributes}
}

// merged returns the body of an update that changes only the attributes that it names.
func merged(c *call, old *object) (obj, error) {
	body := clone(old.body)
	data := sub(body, "data")
	data["attributes"] = over(sub(data, "attributes"), sub(c.body, "data", "attributes"))
	if rel := sub(c.body, "data", "relationships"); rel != nil {
		data["relationships"] = over(sub(data, "relationships"), rel)
	}
	return body, nil
}

// attributes checks the frame of a body of version 2: data, its type, and its attributes.
func attributes(body obj, typ string) (obj, error) {
	data := sub(body, "data")
	switch {
	case data == nil:
		return nil, bad("Invalid request: data is required")
	case text(data, "type") != typ:
		return nil, bad("Invalid request: data.type must be %q", typ)
	case sub(data, "attributes") == nil:
		return nil, bad("Invalid request: data.attributes is required")
	}
	return sub(data, "attributes"), nil
}

// uuidOf is the id of most kinds.
func uuidOf(c *call) string { return c.a.uuid() }

// views returns how a list shows objects.
func views(all []*object, view func(*object) obj) []any {
	out := make([]any, len(all))
	for i, o := range all {
		out[i] = view(o)
	}
	return out
}

// person returns a reference to a user, as relationships have it.
func person(u User) obj { return obj{"data": obj{"id": u.ID, "type": "users"}} }

// creator returns a user as version 1 of the API shows who made something.
func creator(u User) obj { return obj{"email": u.Email, "handle": u.Email, "name": u.Name} }
