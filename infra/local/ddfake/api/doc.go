// Package api is the stand-in for Datadog's asset API: an http.Handler with its paths, methods, statuses, shapes and rules,
// in memory, for every kind of infra/assets. As at Datadog an object comes back with more than was sent: identifiers,
// times, an author, and defaults, so that a client that compares naively sees drift that is none.
//
// It evaluates nothing: who does hears of every object through a Sink. It knows no roles and permissions beyond the two
// keys. Its tests hold every answer against Datadog's OpenAPI description.
//
//	what                     as Datadog                                       differs here, or is a guess
//	monitors                 thresholds, composites, burn rates, duplicates,  the query is judged by its last comparison and
//	                         a simple query alert comes back as metric alert  no further; mentions are not looked up; an
//	                                                                          update replaces options as a whole (guess)
//	SLOs                     soft delete, 409 while a monitor burns on one    an update replaces the SLO; corrections and
//	                                                                          history are not served
//	dashboards               team tags, layouts, ids of widgets, summaries    widgets are judged by type and layout only,
//	                                                                          unless Options.Check is set
//	Synthetics tests         make a monitor of their own with their tags      only API tests; they run elsewhere
//	workflows, connections   handles twice, hidden specs and tokens, no list  instances are not served; a connection must
//	                         of connections; tokens merge by name             exist when a workflow names it (guess); the
//	                                                                          value of a token is shown as "" (guess)
//	log pipelines            order lists all; 400, not 404, for one that is   403 for a change of an integration's (guess);
//	                         not there; processors are off by default         422 for an incomplete order (guess)
//	archives                 order as above; no retention                     integrations are not checked; always UNKNOWN
//	scanner                  one configuration with versions; meta in every   patterns of the library are few, their ids made
//	                         change; a group's update names all rules         up; a group takes its rules with it (guess);
//	                                                                          400 for an old version (guess)
//	metrics                  no metadata or tags before the first point;      the values of points are not kept; only likely
//	                         409 for tags twice                               units; metadata is gone when all of it is empty;
//	                                                                          404 for a change of absent tags (guess)
//	spans and logs metrics   409, aggregation fixed
//	retention filters        Datadog's own are there, 409 for a name twice    two of its own
//	teams, catalog, RUM      409 for a handle; upsert by reference; RUM       the catalog takes JSON only, v3 only
//	                         names twice, scales instead of states
//	on-call                  layers, steps and rules only with include; ids   an empty list takes the rules of a team away
//	                         of layers and steps; limits                      (guess); a configured target is included as
//	                                                                          schedule_target (guess); pages not served
//	notification channels    one user's; no update                            rules go with their channel (guess)
//	incident handles         no id in the path                                the body of a DELETE names one by data.id
//	                                                                          (guess: the description gives no way)
//	webhooks, variables      by name, no list; secrets are never shown        no renaming
//	errors                   the three shapes, by endpoint                    the words are ours, but for the known ones
//	rate limits              headers on every answer                          only those of the log configuration, and only
//	                                                                          when asked; their names are guesses
package api
