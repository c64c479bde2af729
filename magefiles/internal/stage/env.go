package stage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"text/template"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/templates"
)

// Env is what stages work with.
type Env struct {
	Lab   *lab.Lab
	Maker *artifact.Maker
	// Hosts gives the machines' connections, by machine name; it connects when it is first called.
	Hosts func(context.Context) (map[string]*remote.Host, error)
}

// on runs f on machines, all at once, and ends the others with the first that fails.
func (e *Env) on(ctx context.Context, machines []lab.Machine, f func(context.Context, lab.Machine, *remote.Host) error) error {
	hosts, err := e.Hosts(ctx)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, m := range machines {
		g.Go(func() error {
			return onMachine(ctx, m.Name, func() error { return f(ctx, m, hosts[m.Name]) })
		})
	}
	return g.Wait()
}

// nodes are the Calico nodes.
func (e *Env) nodes() []lab.Machine { return e.Lab.ByRole(lab.RoleCalico) }

// check runs f on machines, all at once. f gives what the machine lacks, or "". The result is Check's.
func (e *Env) check(ctx context.Context, machines []lab.Machine, ok string, f func(context.Context, lab.Machine, *remote.Host) (string, error)) (bool, string, error) {
	var mu sync.Mutex
	lacks := map[string]string{}
	err := e.on(ctx, machines, func(ctx context.Context, m lab.Machine, h *remote.Host) error {
		lack, err := f(ctx, m, h)
		if lack != "" {
			mu.Lock()
			defer mu.Unlock()
			lacks[m.Name] = lack
		}
		return err
	})
	if err != nil {
		return false, "", err
	}
	if len(lacks) > 0 {
		return false, grouped(machines, lacks), nil
	}
	return true, ok, nil
}

// grouped writes what machines lack, what several lack once: "calico1, calico2: no container workload"
func grouped(machines []lab.Machine, lacks map[string]string) string {
	var order []string
	names := map[string][]string{}
	for _, m := range machines {
		lack, ok := lacks[m.Name]
		if !ok {
			continue
		}
		if names[lack] == nil {
			order = append(order, lack)
		}
		names[lack] = append(names[lack], m.Name)
	}
	var text []string
	for _, lack := range order {
		text = append(text, strings.Join(names[lack], ", ")+": "+lack)
	}
	return strings.Join(text, "; ")
}

// first gives the first non-empty finding, or the first error.
func first(findings ...func() (string, error)) (string, error) {
	for _, f := range findings {
		if text, err := f(); text != "" || err != nil {
			return text, err
		}
	}
	return "", nil
}

// missing says which of files a machine lacks.
func missing(ctx context.Context, h *remote.Host, files []remote.File) (string, error) {
	lacking, err := h.Missing(ctx, files...)
	if err != nil || len(lacking) == 0 {
		return "", err
	}
	if len(lacking) > 1 {
		return fmt.Sprintf("%s and %d more are missing or differ", lacking[0].Path, len(lacking)-1), nil
	}
	return lacking[0].Path + " is missing or differs", nil
}

// putMissing puts those of files that the machine lacks.
func putMissing(ctx context.Context, h *remote.Host, files []remote.File) error {
	lacking, err := h.Missing(ctx, files...)
	if err != nil {
		return err
	}
	return h.Put(ctx, lacking...)
}

// render renders one of templates/*.tmpl.
func render(name string, data any) ([]byte, error) {
	t, err := template.New(name).Option("missingkey=error").ParseFS(templates.FS, name)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	err = t.Execute(&b, data)
	return []byte(b.String()), err
}

// until calls f until it finds nothing more that is lacking, or ctx ends. what is for the error.
func until(ctx context.Context, what string, limit time.Duration, f func(context.Context) (lack string, err error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not after %s", limit))
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	last := ""
	for {
		lack, err := f(ctx)
		if err == nil && lack == "" {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			lack = err.Error()
		}
		if lack != "" {
			last = lack
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if cause := context.Cause(ctx); errors.Is(cause, context.Canceled) {
				return cause
			}
			return fmt.Errorf("%s: %w; last seen: %s", what, context.Cause(ctx), last)
		}
	}
}
