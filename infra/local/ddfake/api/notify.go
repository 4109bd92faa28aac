package api

import (
	"net/mail"
	"regexp"
	"slices"
	"strings"
)

const (
	channelKind          = "notification-channel"
	notificationRuleKind = "notification-rule"
	monitorRuleKind      = "monitor-rule"
	usersPath            = "/api/v2/on-call/users/{user}"
)

// userIn puts the user, which is in the path and not in the body, where the sink finds it: into the relationships.
func userIn(c *call, o *object) error {
	u, ok := c.a.known(c.param("user"))
	if !ok {
		return missing("user not found")
	}
	data := sub(o.body, "data")
	rel := sub(data, "relationships")
	if rel == nil {
		rel = obj{}
		data["relationships"] = rel
	}
	rel["user"] = person(u)
	return nil
}

// ofUser says that an object is of the user in the path.
func ofUser(c *call, o *object) bool {
	return text(o.body, "data", "relationships", "user", "data", "id") == c.param("user")
}

// userParam takes the user of a seeded object from its relationships.
func userParam(b obj) map[string]string {
	return map[string]string{"user": text(b, "data", "relationships", "user", "data", "id")}
}

var phone = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)

// channels are how a user is reached. Nothing updates one.
func channels() kind {
	show := func(o *object) obj {
		attrs := clone(sub(o.body, "data", "attributes"))
		// A telephone is active once its owner has confirmed it.
		attrs["active"] = text(attrs, "config", "type") != "phone"
		if text(attrs, "config", "type") == "phone" {
			fill(sub(attrs, "config"), obj{"formatted_number": text(attrs, "config", "number"), "region": "", "verified": false})
		}
		return resource(o, "notification_channels", attrs)
	}
	return kind{
		name: channelKind, path: usersPath + "/notification-channels", api: "v2", create: "CreateUserNotificationChannelRequest",
		codes: [3]int{201, 0, 204}, id: uuidOf, visible: ofUser, params: userParam,
		check: func(c *call, o, _ *object) error {
			attrs, err := attributes(o.body, "notification_channels")
			if err != nil {
				return err
			}
			config := sub(attrs, "config")
			switch text(config, "type") {
			case "email":
				if _, err := mail.ParseAddress(text(config, "address")); err != nil || len(list(config, "formats")) == 0 {
					return bad("config needs an address and formats")
				}
				for _, f := range list(config, "formats") {
					if f != "html" && f != "text" {
						return bad("config.formats must be of html and text")
					}
				}
			case "phone":
				if !phone.MatchString(text(config, "number")) {
					return bad("config.number must be in E.164")
				}
			default:
				return bad("config.type must be email or phone")
			}
			return userIn(c, o)
		},
		view: func(_ *call, o *object) obj { return show(o) },
		wrap: inData,
		list: func(_ *call, all []*object) (any, error) { return obj{"data": views(all, show)}, nil },
		// The rules that use a channel go with it.
		gone: func(c *call, o *object) error {
			for _, r := range c.a.store.all(notificationRuleKind) {
				if text(r.body, "data", "relationships", "channel", "data", "id") == o.id {
					if err := c.a.drop(r); err != nil {
						return err
					}
				}
			}
			return nil
		},
		absent: func(string) error { return missing("notification channel not found") },
	}
}

// notificationRules say when a channel of a user is used.
func notificationRules() kind {
	show := func(o *object) obj {
		attrs := clone(sub(o.body, "data", "attributes"))
		fill(attrs, obj{"category": "high_urgency", "delay_minutes": 0})
		v := resource(o, "notification_rules", attrs)
		v["relationships"] = obj{"channel": copied(at(o.body, "data", "relationships", "channel"))}
		return v
	}
	return kind{
		name: notificationRuleKind, path: usersPath + "/notification-rules", api: "v2", create: "CreateOnCallNotificationRuleRequest",
		update: "UpdateOnCallNotificationRuleRequest", method: "PUT", codes: [3]int{201, 200, 204}, id: uuidOf, visible: ofUser, params: userParam,
		check: func(c *call, o, old *object) error {
			attrs, err := attributes(o.body, "notification_rules")
			if err != nil {
				return err
			}
			if old != nil && text(o.body, "data", "id") != o.id {
				return bad("data.id must be %s", o.id)
			}
			delete(sub(o.body, "data"), "id")
			channel := c.a.store.get(channelKind, text(o.body, "data", "relationships", "channel", "data", "id"))
			category, method := text(attrs, "category"), text(attrs, "channel_settings", "method")
			switch {
			case channel == nil || !ofUser(c, channel):
				return bad("relationships.channel: the user has no such channel")
			case category != "" && category != "high_urgency" && category != "low_urgency":
				return bad("category must be high_urgency or low_urgency")
			case !within(attrs, 0, 10080, "delay_minutes"):
				return bad("delay_minutes must be from 0 to a week")
			case attrs["channel_settings"] != nil && (text(channel.body, "data", "attributes", "config", "type") != "phone" || method != "sms" && method != "voice"):
				return bad("channel_settings are for a phone, with the method sms or voice")
			}
			return userIn(c, o)
		},
		view: func(_ *call, o *object) obj { return show(o) },
		wrap: withIncluded(func(c *call, o *object) []any {
			ch := c.a.store.get(channelKind, text(o.body, "data", "relationships", "channel", "data", "id"))
			if ch == nil || !c.asks("channel") {
				return nil
			}
			return []any{channels().view(c, ch)}
		}),
		list:   func(_ *call, all []*object) (any, error) { return obj{"data": views(all, show)}, nil },
		absent: func(string) error { return missing("notification rule not found") },
	}
}

// monitorRules route the notifications of monitors by their tags.
func monitorRules() kind {
	show := func(o *object) obj {
		attrs := clone(sub(o.body, "data", "attributes"))
		attrs["created"], attrs["modified"] = moment(o.created), moment(o.changed)
		v := resource(o, "monitor-notification-rule", attrs)
		v["relationships"] = obj{"created_by": person(o.author)}
		return v
	}
	return kind{
		name: monitorRuleKind, path: "/api/v2/monitor/notification_rule", api: "v2", create: "MonitorNotificationRuleCreateRequest",
		update: "MonitorNotificationRuleUpdateRequest", method: "PATCH", codes: [3]int{200, 200, 204}, id: uuidOf,
		check: checkMonitorRule,
		view:  func(_ *call, o *object) obj { return show(o) },
		wrap:  inData,
		list: func(c *call, all []*object) (any, error) {
			p, err := numbered(c.q, "page", "per_page", 100, 1000)
			return obj{"data": views(cut(all, p), show), "included": []any{}}, err
		},
		absent: func(string) error { return missing("Monitor notification rule not found") },
	}
}

// checkMonitorRule judges a rule. An update replaces all attributes.
func checkMonitorRule(_ *call, o, old *object) error {
	if data := sub(o.body, "data"); data != nil {
		fill(data, obj{"type": "monitor-notification-rule"})
	}
	attrs, err := attributes(o.body, "monitor-notification-rule")
	if err != nil {
		return err
	}
	if old != nil && text(o.body, "data", "id") != o.id {
		return bad("data.id must be %s", o.id)
	}
	delete(sub(o.body, "data"), "id")
	recipients := texts(attrs, "recipients")
	conditions := objs(attrs, "conditional_recipients", "conditions")
	switch {
	case text(attrs, "name") == "":
		return bad("name is required")
	case (len(list(attrs, "filter", "tags")) > 0) == (text(attrs, "filter", "scope") != ""):
		return bad("filter needs either tags or a scope")
	case (len(recipients) > 0) == (len(conditions) > 0):
		return bad("either recipients or conditional_recipients are required")
	case len(recipients) > 20 || len(conditions) > 10:
		return bad("at most 20 recipients and 10 conditions")
	}
	for _, c := range conditions {
		if text(c, "scope") == "" || len(list(c, "recipients")) == 0 {
			return bad("a condition needs a scope and recipients")
		}
		recipients = append(recipients, texts(c, "recipients")...)
	}
	if slices.ContainsFunc(recipients, func(r string) bool { return strings.HasPrefix(r, "@") }) {
		return bad("recipients must not start with @")
	}
	return nil
}
