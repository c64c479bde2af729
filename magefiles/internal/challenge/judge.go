package challenge

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/baseline"
	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// Verdict is what came of a learner's work. It names what he did, and nothing that was broken.
type Verdict struct {
	Symptom []string // what of it is still there
	Changed []string // what isn't as it was, and wasn't when the challenge began
	Removed []string // what belongs to the scene, and isn't there as it was any more
	Unmet   []string // conditions that held when the challenge began
	Left    bool     // something that was broken still is
	Late    bool     // a condition that didn't hold when it began still doesn't
}

// Solved says whether nothing is wrong.
func (v Verdict) Solved() bool {
	return len(v.Symptom)+len(v.Changed)+len(v.Removed)+len(v.Unmet) == 0 && !v.Left && !v.Late
}

// waits says whether what is wrong may be well in a moment, as Calico follows what was done.
func (v Verdict) waits() bool { return !v.Solved() && !v.Left && len(v.Changed)+len(v.Removed) == 0 }

// settleTime is how long Calico may take to follow what a learner did: Felix, after a change of the MTU, some twenty seconds, and more than
// thirty on a busy computer. While what was broken still is, nobody waits for it.
const settleTime = time.Minute

// Judge looks whether the challenge is solved. Where only what comes by itself is missing it looks again, for a while.
func (c *Case) Judge(ctx context.Context) (Verdict, error) {
	deadline := time.Now().Add(settleTime * time.Duration(c.Slow))
	for {
		v, err := c.judge(ctx)
		if err != nil || !v.waits() || time.Now().After(deadline) {
			return v, err
		}
		if err := pause(ctx); err != nil {
			return v, err
		}
	}
}

// judge looks once.
func (c *Case) judge(ctx context.Context) (v Verdict, err error) {
	report, err := c.Peek(ctx, false)
	if err != nil {
		return v, err
	}
	c.See(ctx)
	for name, why := range c.facts.Unreached {
		return v, fmt.Errorf("%s can't be looked at: %s; see: go tool mage status", name, why)
	}
	v = c.compare(baseline.Differences(c.Baseline, &c.facts), report)
	v.Left = v.Left || c.lasts != nil && c.lasts(c)
	v.Symptom = c.tried(ctx)
	if v.Solved() { // only then is it worth the time that lost packets take
		report, err = c.Peek(ctx, true)
		for _, r := range report.Unmet() {
			v.Unmet = append(v.Unmet, r.ID)
		}
	}
	return v, cmp.Or(err, context.Cause(ctx))
}

// compare says what of the differences from the baseline, and of the conditions, is the learner's, and whether something is left of what was broken.
func (c *Case) compare(all []baseline.Difference, report check.Report) Verdict {
	var v Verdict
	was := map[string]string{}
	for _, s := range c.State.Scars {
		was[s.What] = s.Is
	}
	there := map[baseline.Key]bool{}
	for _, d := range all {
		s := c.scar(d)
		is, scarred := was[s.What]
		switch {
		case slices.Contains(c.stays, d.Key):
			there[d.Key] = scarred && is == s.Is
		case follows(d) || c.harmless != nil && c.harmless(c, d):
		case scarred && is == s.Is:
			v.Left = true
		case d.How == baseline.Unseen:
			v.Changed = append(v.Changed, fmt.Sprintf("%s can't be looked at: %s", d.About, d.Is.Value))
		default:
			v.Changed = append(v.Changed, describe(d))
		}
	}
	for _, k := range c.stays {
		if !there[k] {
			v.Removed = append(v.Removed, short(k))
		}
	}
	for _, r := range report.Unmet() {
		if slices.Contains(c.State.Unmet, c.State.digest(r.ID)) {
			v.Late = true
		} else {
			v.Unmet = append(v.Unmet, r.ID)
		}
	}
	return v
}

// describe says of a difference what it is, and whose.
func describe(d baseline.Difference) string {
	where := "the datastore"
	if d.Machine != "" {
		where = d.Machine
	}
	switch d.How {
	case baseline.Extra:
		return fmt.Sprintf("%s has %s, which wasn't there", where, d.About)
	case baseline.Missing:
		return fmt.Sprintf("%s has no %s any more", where, d.About)
	}
	return fmt.Sprintf("%s: %s isn't as it was", where, d.About)
}

// short is the name of something in the datastore.
func short(k baseline.Key) string {
	i := strings.LastIndex(k.Name, "/")
	kind := strings.TrimSuffix(k.Name[:i], "/")
	kind = kind[strings.LastIndex(kind, "/")+1:]
	return kind + "/" + k.Name[i+1:]
}

// scar is a difference as a state keeps it.
func (c *Case) scar(d baseline.Difference) scar {
	value := d.Is.Value
	if slices.Contains(c.stays, d.Key) {
		value = withoutOrder(value)
	}
	return scar{c.State.digest(fmt.Sprintf("%s %s %s", d.Kind, d.Machine, d.Name)), c.State.digest(string(d.How) + " " + value)}
}

// withoutOrder is what a policy says, without its order.
func withoutOrder(value string) string {
	var v struct {
		Spec map[string]any `json:"spec"`
	}
	if json.Unmarshal([]byte(value), &v) != nil || v.Spec == nil {
		return value
	}
	delete(v.Spec, "order")
	if v.Spec["tier"] == "default" { // calicoctl writes it out, or not
		delete(v.Spec, "tier")
	}
	out, err := json.Marshal(v.Spec)
	if err != nil {
		return value
	}
	return string(out)
}

// follows says whether a difference comes of something else, or of a learner who tries things: containers and interfaces of his own, what
// IPAM and the plugins remember of them, what Calico's processes make of the datastore. Conditions say whether that is well.
func follows(d baseline.Difference) bool {
	text := d.Name + " " + d.Was.Value + d.Is.Value
	cali := strings.Contains(text, "dev cali") || strings.Contains(text, "dev {interface")
	switch d.Kind {
	case baseline.Container, baseline.Network, baseline.Namespace, baseline.Sandbox, baseline.Service, baseline.Rendered:
		return true
	case baseline.Link:
		return d.How != baseline.Changed
	case baseline.Route:
		return cali || strings.Contains(d.Was.Value, "proto bird") && d.How == baseline.Missing || strings.Contains(d.Is.Value, "proto bird") && d.How == baseline.Extra ||
			strings.Contains(text, " dev br-")
	case baseline.Neighbour:
		return cali
	case baseline.Chain:
		return strings.Contains(text, " br-")
	case baseline.Path:
		return strings.HasPrefix(d.Name, spec.CNIState+"/") || strings.HasPrefix(d.Name, "~/")
	case baseline.Entry:
		return slices.ContainsFunc([]string{assignments, fact.IPAMPrefix + "handle/", fact.IPAMPrefix + "host/", fact.ResourcePrefix + "workloadendpoints/"}, func(p string) bool {
			return strings.HasPrefix(d.Name, p)
		})
	case baseline.Sysctl:
		return strings.Contains(d.Name, "/cali") || strings.Contains(d.Name, "{interface")
	}
	return false
}

// assignments is where IPAM has its blocks.
const assignments = fact.IPAMPrefix + "assignment/"

func resource(kind, name string) baseline.Key {
	return baseline.Key{Kind: baseline.Entry, Name: fact.ResourcePrefix + kind + "/" + name}
}

// Lines say what is wrong, for people.
func (v Verdict) Lines() []string {
	var all []string
	add := func(format string, parts []string) {
		for _, p := range parts {
			all = append(all, "✗ "+fmt.Sprintf(format, p))
		}
	}
	add("still so: %s", v.Symptom)
	add("this is to stay as it was: %s", v.Removed)
	add("%s", v.Changed)
	if len(v.Symptom) > 0 {
		return all
	}
	add("and now this doesn't hold, which did before: %s", v.Unmet)
	switch {
	case v.Left:
		all = append(all, "✗ the symptom is gone, but its cause isn't: what was broken still is")
	case v.Late && len(all) == 0:
		all = append(all, "✗ the symptom is gone, but the lab isn't yet as it should be; if that stays so: go tool mage hint")
	}
	return all
}
