//go:build linux

package main

import (
	"errors"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// order carries out an order as etcd's administrator.
func order(o fact.Order) (fact.Ordered, error) {
	var done fact.Ordered
	c, err := newEtcdClient(o.URLs(), o.Admin)
	if err != nil {
		return done, err
	}
	if o.Within > 0 {
		healthy := func() string { return anyHealthy(&o.Etcd) }
		if o.Own {
			healthy = func() string { return lacking(fact.Until{Etcd: true}, &o.Etcd, birdSocket) }
		}
		if late := waitFor(o.Within, healthy); late != "" {
			return done, errors.New(late)
		}
	}
	if err := c.change(o); err != nil {
		return done, err
	}
	if o.Auth != nil {
		if err := c.setAuth(*o.Auth); err != nil {
			return done, err
		}
	}
	if len(o.Ops) > 0 {
		if err := c.write(o.Ops); err != nil {
			return done, err
		}
	}
	if o.Members {
		done.Members, err = c.members()
	}
	return done, err
}

// anyHealthy says what is wrong with the machine's own member where none is healthy, which takes a majority of them.
func anyHealthy(e *fact.Etcd) string {
	said := ""
	for i := range e.URLs() {
		one := *e
		one.URL = e.URLs()[i]
		h := etcd(&one)
		if h.Value.OK {
			return ""
		}
		if said == "" {
			said = h.Value.Said
		}
	}
	return said
}
