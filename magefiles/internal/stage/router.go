package stage

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// routerConditions are on what runs on the routers' machines, but for their sessions.
func routerConditions(e *Env) []check.Condition {
	var all []check.Condition
	for _, m := range e.Lab.Routers() {
		all = append(all, on("router-conf", m, fact.RouterConf,
			"BIRD on "+m.Name+" has the lab's configuration", "writes the file, has BIRD read it",
			func(seen fact.Machine, _ *fact.Lab) check.Finding {
				files := e.RouterFiles(m)
				return filesFinding(e, seen, files, files[0].Path)
			}))
	}
	for _, m := range e.Lab.Routers() {
		c := e.Router()
		all = append(all, on("router", m, fact.Containers,
			"BIRD's container runs as it should on "+m.Name, "starts BIRD",
			func(seen fact.Machine, _ *fact.Lab) check.Finding {
				return containerFinding(e, seen, c.Faults(seen.Docker.Value, true), c.Name)
			}))
	}
	return all
}

// routerSpeaks are the conditions on a router's BIRD, of the kinds that nodes have, too.
func routerSpeaks(e *Env, m lab.Machine) []check.Condition {
	bird, bgp := birdCondition(m), on("bgp", m, fact.RouterBGP,
		"BGP of "+m.Name+" is Established with every node", "starts what was stopped; if that is not it, BIRD",
		func(seen fact.Machine, _ *fact.Lab) check.Finding { return bgpFinding(seen, SessionsOf(e.Spec, m)) })
	bird.Try = try(m, fact.RouterBGP.Command())
	return []check.Condition{forwardingCondition(m, "it routes nothing"), bird, bgp}
}

// routersCondition wants the nodes to know the routers.
func routersCondition(e *Env) check.Condition {
	var names []string
	for _, m := range e.Lab.Routers() {
		names = append(names, m.Name)
	}
	return stored("routers", "", e.Lab, fact.Peers, "every node has "+check.Names(names)+" as BGP peer", "writes the BGPPeers",
		func(d *fact.Datastore) check.Finding {
			var faults []string
			for _, m := range e.Lab.Routers() {
				want := peerOf(m)
				if is, there := d.Peer(want.Name); !there {
					faults = append(faults, "there is no BGPPeer "+want.Name)
				} else if is != want {
					faults = append(faults, "BGPPeer "+want.Name+" has been changed")
				}
			}
			if len(faults) > 0 {
				return check.Not("%s", check.Names(faults))
			}
			return check.OK("%s", plural(len(names), "BGPPeer"))
		})
}

// peerOf is a router's BGPPeer as the datastore has it.
func peerOf(m lab.Machine) fact.PeerResource {
	p := spec.RouterPeer(m)
	return fact.PeerResource{Name: p.Metadata.Name, PeerIP: p.Spec.PeerIP, AS: json.Number(strconv.FormatUint(uint64(p.Spec.ASNumber), 10)), KeepNextHop: p.Spec.KeepOriginalNextHop}
}

// ownPeer says whether a BGPPeer is one that lab.yaml means.
func ownPeer(e *Env, name string) bool {
	return name == spec.ReflectorPeer || slices.ContainsFunc(e.Lab.Routers(), func(m lab.Machine) bool { return spec.RouterPeerName(m.Name) == name })
}

// configureRouters adds the writing of the routers' BGPPeers.
func configureRouters(s *script, e *Env, d *fact.Datastore) error {
	for _, m := range e.Lab.Routers() {
		if is, _ := d.Peer(spec.RouterPeerName(m.Name)); is == peerOf(m) {
			continue
		}
		if err := s.resource(spec.RouterPeer(m)); err != nil {
			return err
		}
	}
	return nil
}

// startRouters has BIRD run on the routers, with the configuration that is there now.
func startRouters(ctx context.Context, e *Env, j Job) error {
	return e.on(ctx, e.Lab.Routers(), func(ctx context.Context, m lab.Machine, h *remote.Host) error {
		var s script
		birdc := func(args ...string) {
			s.cmd(append([]string{"docker", "exec", spec.RouterContainer, "birdc"}, args...)...)
		}
		switch {
		case j.Facts.Machines[m.Name].Docker.Unknown != "": // it is looked at again
		case j.Has(m.Name, "router"):
			s.cmd("docker", "start", spec.RouterContainer)
		case j.Round > 0 && j.broken(m.Name, "bird", "bgp"):
			s.cmd("docker", "restart", spec.RouterContainer)
		case j.broken(m.Name, "router-conf", "bgp") && !j.Has(m.Name, "bird"):
			birdc("configure")
			birdc("enable", "all")
		}
		if j.Has(m.Name, "forwarding") {
			s.cmd("sysctl", "-w", "net.ipv4.ip_forward=1")
		}
		if err := s.run(ctx, h); err != nil {
			return fmt.Errorf("BIRD on %s: %w", m.Name, err)
		}
		return nil
	})
}
