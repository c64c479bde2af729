//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"golang.org/x/sys/unix"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// statusError is an answer that is none.
type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string { return e.text }

// engine is Docker Engine's API at its socket.
type engine struct{ http.Client }

// dockerSocket is where Docker Engine answers.
const dockerSocket = "/var/run/docker.sock"

func newEngine(socket string, slow int) *engine {
	return &engine{http.Client{
		Timeout: 5 * time.Second * time.Duration(max(slow, 1)),
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}},
	}}
}

func (e *engine) get(path string, into any) error {
	return getJSON(&e.Client, "http://docker"+path, into)
}

func getJSON(c *http.Client, url string, into any) error {
	res, err := c.Get(url)
	if err != nil {
		return err
	}
	return decodeBody(res, url, into)
}

func decodeBody(res *http.Response, url string, into any) error {
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 200))
		return &statusError{res.StatusCode, fmt.Sprintf("%s: %s: %s", url, res.Status, text)}
	}
	return json.NewDecoder(res.Body).Decode(into)
}

func docker(socket string, slow int) fact.Seen[fact.Docker] {
	seen := newEngine(socket, slow).look()
	seen.Value.Full = full("/var/lib/docker")
	return seen
}

// full says whether even root finds hardly room on a file system.
func full(dir string) bool {
	const least = 32 << 20
	var fs unix.Statfs_t
	return unix.Statfs(dir, &fs) == nil && int64(fs.Bfree)*fs.Bsize < least
}

func (e *engine) look() fact.Seen[fact.Docker] {
	d := fact.Docker{Images: map[string]string{}}
	var version struct{ Version string }
	if err := e.get("/version", &version); err != nil {
		return fact.Unknown[fact.Docker](fmt.Sprintf("Docker Engine doesn't answer: %v", err))
	}
	d.Version = version.Version
	var list []struct{ ID string }
	if err := e.get("/containers/json?all=1", &list); err != nil {
		return fact.Unknown[fact.Docker](err.Error())
	}
	for _, c := range list {
		var is fact.Container
		err := e.get("/containers/"+c.ID+"/json", &is)
		var status *statusError
		if errors.As(err, &status) && status.code == http.StatusNotFound {
			continue // it has just been removed
		}
		if err != nil {
			return fact.Unknown[fact.Docker](err.Error())
		}
		d.Containers = append(d.Containers, is)
	}
	var images []struct {
		RepoTags []string
		Labels   map[string]string
	}
	if err := e.get("/images/json", &images); err != nil {
		return fact.Unknown[fact.Docker](err.Error())
	}
	for _, i := range images {
		for _, tag := range i.RepoTags {
			d.Images[tag] = i.Labels[fact.LabelImage]
		}
	}
	var volumes struct{ Volumes []fact.Volume }
	if err := e.get("/volumes", &volumes); err != nil {
		return fact.Unknown[fact.Docker](err.Error())
	}
	d.Volumes = volumes.Volumes
	return fact.Known(d)
}
