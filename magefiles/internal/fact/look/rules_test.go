//go:build linux

package main

import (
	"net"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestLookup(t *testing.T) {
	_, from, err := net.ParseCIDR("10.77.0.0/24")
	if err != nil {
		t.Fatal(err)
	}
	r := netlink.NewRule()
	r.Priority, r.Src, r.Table, r.Mark, r.IifName = 32765, from, 100, 0x10, "cali1"
	if got, want := lookup(*r).String(), "priority 32765 from 10.77.0.0/24 fwmark 0x10 iif cali1 table 100"; got != want {
		t.Errorf("%s, not %s", got, want)
	}
	r = netlink.NewRule() // the kernel's own: -1 is no priority
	r.Table = 255
	if l := lookup(*r); !l.Usual() {
		t.Errorf("%s is none of the kernel's", l)
	}
}

func TestSearchPath(t *testing.T) {
	const all = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for given, want := range map[string]string{
		"":                         all, // and not the directory that it is in
		all:                        all,
		"/usr/bin:/bin":            "/usr/bin:/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin",
		"/home/me/bin:" + all:      "/home/me/bin:" + all,
		"/usr/local/sbin:/usr/bin": "/usr/local/sbin:/usr/bin:/usr/local/bin:/usr/sbin:/sbin:/bin",
	} {
		if got := searchPath(given); got != want {
			t.Errorf("%q: %q, not %q", given, got, want)
		}
	}
}
