//go:build linux

package main

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// auth asks etcd what it lets its clients do.
func auth(e *fact.Etcd) fact.Seen[fact.Auth] {
	c, err := newEtcdClient(e.URLs(), e.Admin)
	if err != nil {
		return fact.Unknown[fact.Auth](err.Error())
	}
	defer c.http.CloseIdleConnections()
	return fact.See(c.auth())
}

func (c *etcdClient) auth() (a fact.Auth, err error) {
	a = fact.Auth{Users: map[string][]string{}, Roles: map[string][]fact.Grant{}}
	status, err := c.call("Auth/AuthStatus", nil)
	if err == nil {
		err = status.fields(func(field int, number uint64, _ message) { a.Enabled = a.Enabled || field == 2 && number == 1 })
	}
	if err != nil {
		return a, err
	}
	users, err := c.names("Auth/UserList", nil)
	roles, rerr := c.names("Auth/RoleList", nil)
	if err := errors.Join(err, rerr); err != nil {
		return a, err
	}
	// Each answer takes etcd a write to its disk, several at once hardly more than one.
	var all sync.WaitGroup
	var mu sync.Mutex
	for _, user := range users {
		all.Go(func() {
			has, uerr := c.names("Auth/UserGet", message{}.text(1, user))
			mu.Lock()
			defer mu.Unlock()
			a.Users[user], err = has, errors.Join(err, uerr)
		})
	}
	for _, role := range roles {
		all.Go(func() {
			grants, rerr := c.grants(role)
			mu.Lock()
			defer mu.Unlock()
			a.Roles[role], err = grants, errors.Join(err, rerr)
		})
	}
	all.Wait()
	return a, err
}

// names are the names that a method answers with, sorted.
func (c *etcdClient) names(method string, request message) (all []string, err error) {
	reply, err := c.call(method, request)
	if err != nil {
		return nil, err
	}
	err = reply.fields(func(field int, _ uint64, value message) {
		if field == 2 {
			all = append(all, string(value))
		}
	})
	slices.Sort(all)
	return all, err
}

func (c *etcdClient) grants(role string) ([]fact.Grant, error) {
	reply, err := c.call("Auth/RoleGet", message{}.text(1, role))
	if err != nil {
		return nil, err
	}
	var all []fact.Grant
	var broken error
	err = reply.fields(func(field int, _ uint64, value message) {
		if field != 2 {
			return
		}
		var g fact.Grant
		broken = errors.Join(broken, value.fields(func(field int, number uint64, value message) {
			switch field {
			case 1:
				g.Write = number == readWrite
			case 2:
				g.Key = string(value)
			case 3:
				g.End = string(value)
			}
		}))
		all = append(all, g)
	})
	slices.SortFunc(all, func(a, b fact.Grant) int { return cmp.Compare(a.Key, b.Key) })
	return all, errors.Join(err, broken)
}

// readWrite is authpb's; to read is 0.
const readWrite = 2

// setAuth makes users and roles what they are to be, and switches authentication on. Others' stay.
func (c *etcdClient) setAuth(want fact.Auth) error {
	is, err := c.auth()
	if err != nil {
		return err
	}
	do := func(method string, request message) {
		if err == nil {
			_, err = c.call("Auth/"+method, request)
		}
	}
	for _, role := range slices.Sorted(maps.Keys(want.Roles)) {
		if _, there := is.Roles[role]; !there {
			do("RoleAdd", message{}.text(1, role))
		}
		for _, g := range is.Roles[role] {
			if !slices.Contains(want.Roles[role], g) {
				do("RoleRevokePermission", message{}.text(1, role).text(2, g.Key).text(3, g.End))
			}
		}
		for _, g := range want.Roles[role] {
			if !slices.Contains(is.Roles[role], g) {
				permission := message{}.text(2, g.Key).text(3, g.End)
				if g.Write {
					permission = message{}.number(1, readWrite).text(2, g.Key).text(3, g.End)
				}
				do("RoleGrantPermission", message{}.text(1, role).bytes(2, permission))
			}
		}
	}
	for _, user := range slices.Sorted(maps.Keys(want.Users)) {
		if _, there := is.Users[user]; !there {
			do("UserAdd", message{}.text(1, user).bytes(3, message{}.number(1, 1))) // without a password: by his certificate alone
		}
		for _, role := range is.Users[user] {
			if !slices.Contains(want.Users[user], role) {
				do("UserRevokeRole", message{}.text(1, user).text(2, role))
			}
		}
		for _, role := range want.Users[user] {
			if !slices.Contains(is.Users[user], role) {
				do("UserGrantRole", message{}.text(1, user).text(2, role))
			}
		}
	}
	if !is.Enabled {
		do("AuthEnable", nil)
	}
	return err
}
