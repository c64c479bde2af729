package baseline

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// byItself is what Calico writes without anybody's asking: what Felix reports, and the state of nodes.
var byItself = []string{fact.FelixPrefix, fact.ResourcePrefix + "caliconodestatuses/"}

// datastore takes in Calico's keys.
func (s *state) datastore(all fact.Seen[[]fact.KeyValue]) {
	if all.Unknown != "" {
		return
	}
	for _, kv := range all.Value {
		if hasPrefix(kv.Key, byItself...) {
			continue
		}
		s.add(Entry, "", kv.Key, s.canonical(kv), string(kv.Value))
	}
}

func hasPrefix(text string, prefixes ...string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(text, p) {
			return true
		}
	}
	return false
}

// canonical writes a value without what changes by itself: times, revisions, IDs of resources that were made anew.
func (s *state) canonical(kv fact.KeyValue) string {
	var v map[string]any
	if json.Unmarshal(kv.Value, &v) != nil {
		return string(kv.Value)
	}
	if meta, ok := v["metadata"].(map[string]any); ok {
		for _, field := range []string{"uid", "creationTimestamp", "resourceVersion", "generation", "managedFields"} {
			delete(meta, field)
		}
	}
	if kv.Key == fact.ResourcePrefix+"nodes/"+nameOf(kv.Key) {
		delete(v, "status")
		if spec, ok := v["spec"].(map[string]any); ok {
			delete(spec, "interfaces") // calico-node finds them
		}
	}
	if strings.HasPrefix(kv.Key, fact.IPAMPrefix+"assignment/") {
		block(v)
	}
	out, err := json.Marshal(v)
	if err != nil {
		return string(kv.Value)
	}
	return string(out)
}

func nameOf(key string) string { return key[strings.LastIndexByte(key, '/')+1:] }

// block brings a block into a form in which each address has its owner's handle. The order of those that nobody has stays: it
// decides which is the next.
func block(v map[string]any) {
	attributes, _ := v["attributes"].([]any)
	owners := map[string]any{}
	allocations, _ := v["allocations"].([]any)
	for ordinal, a := range allocations {
		if i, ok := a.(float64); ok && int(i) < len(attributes) {
			owner, _ := attributes[int(i)].(map[string]any)
			if more, ok := owner["secondary"].(map[string]any); ok {
				delete(more, "timestamp")
			}
			owners[strconv.Itoa(ordinal)] = owner
		}
	}
	v["allocations"] = owners
	for _, field := range []string{"attributes", "sequenceNumber", "sequenceNumberForAllocation"} {
		delete(v, field)
	}
}

// entryName names a key of the datastore for people.
func entryName(key string) string {
	if rest, ok := strings.CutPrefix(key, fact.ResourcePrefix); ok {
		return rest
	}
	parts := strings.Split(strings.TrimPrefix(key, fact.IPAMPrefix), "/")
	switch {
	case parts[0] == "assignment" && len(parts) == 4:
		return "IPAM's block " + strings.ReplaceAll(parts[3], "-", "/")
	case parts[0] == "handle" && len(parts) == 2:
		return "IPAM's handle " + parts[1]
	case parts[0] == "host" && len(parts) == 5:
		return fmt.Sprintf("%s's affinity for block %s", parts[1], strings.ReplaceAll(parts[4], "-", "/"))
	}
	return key
}
