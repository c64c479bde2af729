//go:build linux

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// members asks which members etcd's cluster has.
func members(e *fact.Etcd) fact.Seen[[]fact.Member] {
	c, err := newEtcdClient(e.URLs(), e.Admin)
	if err != nil {
		return fact.Unknown[[]fact.Member](err.Error())
	}
	defer c.http.CloseIdleConnections()
	return fact.See(c.members())
}

func (c *etcdClient) members() ([]fact.Member, error) {
	// Linearizable: a member that was cut off doesn't answer with what once was.
	reply, err := c.call("Cluster/MemberList", message{}.number(1, 1))
	if err != nil {
		return nil, err
	}
	all := []fact.Member{}
	var broken error
	err = reply.fields(func(field int, _ uint64, value message) {
		if field == 2 {
			m, err := parseMember(value)
			broken = errors.Join(broken, err)
			all = append(all, m)
		}
	})
	if err := errors.Join(err, broken); err != nil {
		return nil, err
	}
	status, err := c.call("Maintenance/Status", nil)
	if err != nil {
		return nil, err
	}
	leader := ""
	err = status.fields(func(field int, number uint64, _ message) {
		if field == 4 {
			leader = memberID(number)
		}
	})
	for i := range all {
		all[i].Leader = all[i].ID == leader
	}
	slices.SortFunc(all, func(a, b fact.Member) int { return strings.Compare(a.Peer, b.Peer) })
	return all, err
}

// parseMember decodes etcdserverpb.Member. Each of the lab's has one URL of a kind.
func parseMember(value message) (m fact.Member, err error) {
	err = value.fields(func(field int, number uint64, value message) {
		switch field {
		case 1:
			m.ID = memberID(number)
		case 2:
			m.Name = string(value)
		case 3:
			m.Peer = string(value)
		case 4:
			m.Client = string(value)
		case 5:
			m.Learner = number == 1
		}
	})
	return m, err
}

func memberID(n uint64) string { return fmt.Sprintf("%x", n) }

// change changes the cluster's members as an order says. All of it can be done twice.
func (c *etcdClient) change(o fact.Order) error {
	if o.Admit == "" && o.Promote == "" && len(o.Remove) == 0 {
		return nil
	}
	all, err := c.members()
	if err != nil {
		return err
	}
	if o.Admit != "" {
		if err := c.admit(o.Admit, all); err != nil {
			return err
		}
	}
	if o.Promote != "" {
		if err := c.promote(o, all); err != nil {
			return err
		}
	}
	for _, m := range all {
		if slices.Contains(o.Remove, m.Peer) {
			if err := c.member("MemberRemove", m.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// admit makes a member of one that has no data. As a learner it doesn't count for the majority before it has some.
func (c *etcdClient) admit(peer string, all []fact.Member) error {
	for _, m := range all {
		switch {
		case m.Peer != peer:
		case m.Name == "" && m.Learner: // it was admitted, and has never been started
			return nil
		default:
			if err := c.member("MemberRemove", m.ID); err != nil {
				return err
			}
		}
	}
	// Within some seconds after another change etcd may find too few members connected ("unhealthy cluster").
	const asLearner = 2
	return c.patiently("Cluster/MemberAdd", message{}.text(1, peer).number(asLearner, 1))
}

// promote lets a learner vote as soon as it has the data.
func (c *etcdClient) promote(o fact.Order, all []fact.Member) error {
	i := slices.IndexFunc(all, func(m fact.Member) bool { return m.Peer == o.Promote })
	if i < 0 {
		return fmt.Errorf("etcd has no member %s", o.Promote)
	}
	if !all[i].Learner {
		return nil
	}
	// The leader alone knows how much of the data the learner has, and a request that another member passes on to it comes without the
	// caller's certificate.
	leader := slices.IndexFunc(all, func(m fact.Member) bool { return m.Leader })
	if leader < 0 {
		return errors.New("etcd has no leader")
	}
	at := &etcdClient{urls: []string{all[leader].Client}, http: c.http}
	return at.member("MemberPromote", all[i].ID)
}

// member calls a method of the cluster's on a member.
func (c *etcdClient) member(method, id string) error {
	var n uint64
	if _, err := fmt.Sscanf(id, "%x", &n); err != nil {
		return err
	}
	return c.patiently("Cluster/"+method, message{}.number(1, n))
}

// changeTime is how long a change of the members may take: a learner gets the data, a new connection stands.
const changeTime = 20 * time.Second

// patiently calls a method again for a while as long as etcd isn't ready for it.
func (c *etcdClient) patiently(method string, request message) (err error) {
	const failedPrecondition = "status 9 of gRPC"
	late := waitFor(changeTime, func() string {
		if _, err = c.call(method, request); err != nil && (errors.Is(err, errUnavailable) || strings.Contains(err.Error(), failedPrecondition)) {
			return err.Error()
		}
		return ""
	})
	if late != "" {
		return errors.New(late)
	}
	return err
}
