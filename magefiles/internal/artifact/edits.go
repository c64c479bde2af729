package artifact

import (
	"bytes"
	"regexp"
	"slices"
)

// edits are what the lab changes in Calico's own files, by their path in the image. One that changes nothing is an error:
// then Calico's file isn't the one that the edit was written for.
var edits = map[string]func([]byte) []byte{
	"/etc/calico/confd/templates/bird_ipam.cfg.template": withoutTunnels,
	"/etc/calico/confd/templates/bird.cfg.template":      withShortWaits,
	"/etc/service/available/bird/run":                    waitingForConfig,
	"/etc/service/available/bird6/run":                   waitingForConfig,
	"/etc/rc.local":                                      withoutKubernetes,
}

// withoutKubernetes removes a service that reports to Kubernetes' API: without one it would fail and be restarted every
// second, for ever.
func withoutKubernetes(rcLocal []byte) []byte {
	return bytes.Replace(rcLocal, []byte("cp -a /etc/service/available/complete-startup /etc/service/enabled/\n"), nil, 1)
}

var routerID = regexp.MustCompile(`(?m)^router id .*$`)

// withShortWaits has BIRD dial its peers after one second instead of two. It waits that long before it dials, and again when
// the peer isn't listening yet; measured, a session is Established a second earlier. BIRD can't wait for less than one.
//
// And it has a BIRD that starts anew wait for its peers' routes for ten seconds, not 240, until it programs what it has: one
// peer that is registered and away would leave the node without routes that long, its other sessions Established.
func withShortWaits(template []byte) []byte {
	if !routerID.Match(template) {
		return template
	}
	template = bytes.ReplaceAll(template, []byte("connect delay time 2;"), []byte("connect delay time 1;"))
	at := routerID.FindIndex(template)[0]
	return slices.Insert(template, at, []byte("graceful restart wait 10;\n")...)
}

var birdExec = regexp.MustCompile(`(?m)^exec bird6? .* -c (/[^ \n]+)$`)

// waitingForConfig has a run script of BIRD's wait until confd has written BIRD's configuration. Without it BIRD exits
// at once, and runit starts it again only a second later. confd writes the main file last: it checks it with BIRD,
// which reads the included ones. Then it has runit send a hangup, which must not end the script that still waits; the
// trap is gone with the exec. It waits without a program: fifty nodes that sleep wait for one another. After 60 s BIRD is started all the
// same, and says what it lacks. A script that isn't as it was is left alone, whereupon the making of the image stops.
func waitingForConfig(run []byte) []byte {
	rest, ok := bytes.CutPrefix(run, []byte("#!/bin/sh\n"))
	if !ok || !birdExec.Match(run) {
		return run
	}
	run = append([]byte("#!/bin/bash\n"), rest...) // read -t is bash's
	return birdExec.ReplaceAll(run, []byte(`trap : HUP
exec {idle}<> <(:)
for _ in {1..600}; do
	if [ -e $1 ]; then break; fi
	read -r -t 0.1 -u $$idle || true
done
exec {idle}>&-
$0`))
}

var krtTunnel = regexp.MustCompile(`(?m)^(.*\b(?:then|else)\n)?[ \t]*krt_tunnel = .*\n`)

// withoutTunnels removes the route attribute krt_tunnel from BIRD's template. Only Calico's fork of BIRD knows it,
// and it matters only for IPIP, which lab.yaml can't ask for.
func withoutTunnels(template []byte) []byte {
	return krtTunnel.ReplaceAllFunc(template, func(match []byte) []byte {
		if before, _, ok := bytes.Cut(match, []byte("\n")); ok && len(before) > 0 && bytes.Count(match, []byte("\n")) == 2 {
			return append(append([]byte{}, before...), " { }\n"...)
		}
		return nil
	})
}
