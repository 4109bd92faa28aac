package check

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/monitor"
)

// transition is one kind of notification: the conditions that hold in a message then.
type transition struct {
	name  string
	holds []string
}

var (
	onAlert    = transition{"alert", []string{"is_alert"}}
	onWarning  = transition{"warning", []string{"is_warning"}}
	onNoData   = transition{"no data", []string{"is_no_data"}}
	onRecovery = transition{"recovery", []string{"is_recovery", "is_alert_recovery", "is_warning_recovery", "is_no_data_recovery"}}
	onRenotify = transition{"reminder", []string{"is_alert", "is_renotify"}}
)

var tag = regexp.MustCompile(`\{\{\s*([#^/]?)\s*([^}]*?)\s*\}\}`)

// render returns what a message says on a transition. Variables become x; a condition on a value is taken to hold, so that
// what it guards is seen.
func (t transition) render(message string) string {
	var b strings.Builder
	hidden := 0
	var blocks []bool // of each open block, whether it hides what is in it
	end := 0
	write := func(text string) {
		if hidden == 0 {
			b.WriteString(text)
		}
	}
	for _, at := range tag.FindAllStringSubmatchIndex(message, -1) {
		write(message[end:at[0]])
		end = at[1]
		sign, name := message[at[2]:at[3]], message[at[4]:at[5]]
		switch sign {
		case "#", "^":
			hides := strings.HasPrefix(name, "is_") && !strings.HasPrefix(name, "is_match") && !strings.HasPrefix(name, "is_exact_match") &&
				slices.Contains(t.holds, name) != (sign == "#")
			blocks = append(blocks, hides)
			if hides {
				hidden++
			}
		case "/":
			if len(blocks) > 0 {
				if blocks[len(blocks)-1] {
					hidden--
				}
				blocks = blocks[:len(blocks)-1]
			}
		default:
			write("x")
		}
	}
	write(message[end:])
	return b.String()
}

// checkMessage holds that a monitor's message reaches somebody, says where the playbook is, tells of recovery, and that
// everybody it mentions exists.
func checkMessage(c *checker, d *doc) {
	at := d.body.key("message")
	text := at.text()
	transitions := []transition{onAlert, onRecovery}
	if _, ok := d.body.key("options", "thresholds", "warning").number(); ok {
		transitions = append(transitions, onWarning)
	}
	if missing := d.body.key("options", "on_missing_data").text(); d.body.key("options", "notify_no_data").is() || missing == "show_and_notify_no_data" {
		transitions = append(transitions, onNoData)
	}
	if n, ok := d.body.key("options", "renotify_interval").number(); ok && n > 0 {
		transitions = append(transitions, onRenotify)
	}
	pages := map[string]string{} // who is paged, by the first transition that does
	var recovered []string
	reached := 0
	seen := map[string]bool{}
	for _, t := range transitions {
		for _, m := range monitor.Mentions(t.render(text)) {
			if t.name == onAlert.name {
				reached++
			}
			if m.Kind == monitor.MentionOnCall {
				if t.name == onRecovery.name {
					recovered = append(recovered, m.Handle)
				} else if pages[m.Handle] == "" {
					pages[m.Handle] = t.name
				}
			}
			once := fmt.Sprint(m.Kind, m.Handle, slices.Sorted(maps.Keys(m.Params)))
			if !seen[once] {
				seen[once] = true
				c.resolve(d, at, m)
			}
		}
	}
	for _, handle := range slices.Sorted(maps.Keys(pages)) {
		if !slices.Contains(recovered, handle) {
			c.bad(d, at, "@oncall-%s is mentioned on %s but not on recovery, so its page is never resolved by itself", handle, pages[handle])
		}
	}
	if reached == 0 {
		c.bad(d, at, "an alert of this monitor reaches nobody: no workflow, on-call team or address is mentioned")
	}
	if said := strings.TrimSpace(onRecovery.render(text)); onRecovery.render(text) == onAlert.render(text) && said != "" {
		c.bad(d, at, "the message is the same for an alert and for its recovery: use {{#is_alert}} and {{#is_recovery}}")
	}
	if page := "datadog/playbooks/" + d.Key + ".md"; !strings.Contains(text, page) {
		c.bad(d, at, "the message does not name its playbook, %s", page)
	}
}

// mention checks the one mention that a text is.
func (c *checker) mention(d *doc, at node, text string) {
	found := monitor.Mentions(text)
	if len(found) != 1 {
		c.bad(d, at, "%q is not one mention", text)
		return
	}
	c.resolve(d, at, found[0])
}

// resolve holds that what a mention names exists and can be reached.
func (c *checker) resolve(d *doc, at node, m monitor.Mention) {
	switch m.Kind {
	case monitor.MentionWorkflow:
		c.resolveWorkflow(d, at, m)
	case monitor.MentionOnCall:
		owner := c.with(assets.Team, m.Handle, "data", "attributes", "handle")
		if owner == nil {
			c.bad(d, at, "@oncall-%s: there is no team with this handle", m.Handle)
		} else if !slices.ContainsFunc(c.of(assets.RoutingRules), func(r *doc) bool {
			key, ok := r.body.key("data", "id").refers(assets.Team)
			return ok && key == owner.Key
		}) {
			c.bad(d, at, "@oncall-%s: the team has no routing rules, so nobody is paged", m.Handle)
		}
	case monitor.MentionTeam:
		if c.with(assets.Team, m.Handle, "data", "attributes", "handle") == nil {
			c.bad(d, at, "@team-%s: there is no team with this handle", m.Handle)
		}
	case monitor.MentionIncident:
		if c.with(assets.IncidentHandle, m.Handle, "data", "attributes", "name") == nil && c.with(assets.IncidentHandle, "@incident-"+m.Handle, "data", "attributes", "name") == nil {
			c.bad(d, at, "@incident-%s: there is no incident handle of this name", m.Handle)
		}
	case monitor.MentionWebhook:
		if c.with(assets.Webhook, m.Handle, "name") == nil {
			c.bad(d, at, "@webhook-%s: there is no webhook of this name", m.Handle)
		}
	case monitor.MentionSlack:
		if m.Handle != "${setting:slack_account}-${setting:slack_channel_name}" {
			c.bad(d, at, "@slack-%s: account and channel are the organisation's choice: write @slack-${setting:slack_account}-${setting:slack_channel_name}", m.Handle)
		}
	case monitor.MentionPagerDuty:
		if m.Handle != "${setting:pagerduty_service}" {
			c.bad(d, at, "@pagerduty-%s: the service is the organisation's choice: write @pagerduty-${setting:pagerduty_service}", m.Handle)
		}
	case monitor.MentionEmail:
		c.bad(d, at, "@%s: addresses are the organisation's choice: write @${setting:oncall_email}", m.Handle)
	default:
		if setting, ok := (node{v: m.Handle}).ref(); ok && setting.Kind == assets.Setting && strings.HasSuffix(setting.Name, "_email") {
			return
		}
		c.bad(d, at, "@%s reaches nobody: it is misspelt, or there is no white space after it", m.Handle)
	}
}

// resolveWorkflow holds that a mentioned workflow can be started by a monitor, with the parameters given.
func (c *checker) resolveWorkflow(d *doc, at node, m monitor.Mention) {
	w := c.with(assets.Workflow, m.Handle, "data", "attributes", "spec", "handle")
	if w == nil {
		c.bad(d, at, "@workflow-%s: there is no workflow with this handle", m.Handle)
		return
	}
	attributes := w.body.key("data", "attributes")
	if !attributes.key("published").is() {
		c.bad(d, at, "@workflow-%s: %s is not published, so the mention starts nothing", m.Handle, w.File)
	}
	if !slices.ContainsFunc(attributes.key("spec", "triggers").items(), func(t node) bool { return t.key("monitorTrigger").exists() }) {
		c.bad(d, at, "@workflow-%s: %s has no monitorTrigger, so the mention starts nothing", m.Handle, w.File)
	}
	var declared []string
	for _, p := range attributes.key("spec", "inputSchema", "parameters").items() {
		name := p.key("name").text()
		declared = append(declared, name)
		if _, given := m.Params[name]; !given && !p.key("defaultValue").exists() {
			c.bad(d, at, "@workflow-%s: the input %s has no default value and is not given", m.Handle, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.Params)) {
		if !slices.Contains(declared, name) {
			c.bad(d, at, "@workflow-%s: there is no input %s, only %s", m.Handle, name, strings.Join(declared, ", "))
		}
	}
}
