package picture

import (
	"context"

	"github.com/calico-cni-lab/lab/magefiles/internal/explain"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// recordedTrace captures what was captured then.
func recordedTrace(s explain.Story) func(context.Context, map[string]fact.TraceRequest) map[string]fact.Seen[fact.Trace] {
	return func(context.Context, map[string]fact.TraceRequest) map[string]fact.Seen[fact.Trace] { return s.Traces }
}
