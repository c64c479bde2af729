//go:build linux

package main

import (
	"cmp"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// authority is an etcd that has users and roles, and nothing else.
type authority struct {
	sync.Mutex
	fact.Auth
	did []string // what changed it
}

func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.Lock()
	defer a.Unlock()
	body, _ := io.ReadAll(r.Body)
	var name, second string
	var grant fact.Grant
	var permission message
	_ = message(body[5:]).fields(func(field int, _ uint64, value message) {
		switch field {
		case 1:
			name = string(value)
		case 2:
			second, permission = string(value), value
		case 3:
			grant.End = string(value)
		}
	})
	method := strings.TrimPrefix(r.URL.Path, "/etcdserverpb.Auth/")
	var answer message
	list := func(names []string) {
		for _, n := range names {
			answer = answer.text(2, n)
		}
	}
	switch method {
	case "AuthStatus":
		if a.Enabled {
			answer = answer.number(2, 1)
		}
	case "UserList":
		list(slices.Collect(maps.Keys(a.Users)))
	case "RoleList":
		list(slices.Collect(maps.Keys(a.Roles)))
	case "UserGet":
		list(a.Users[name])
	case "RoleGet":
		for _, g := range a.Roles[name] {
			p := message{}
			if g.Write {
				p = p.number(1, readWrite)
			}
			answer = answer.bytes(2, p.text(2, g.Key).text(3, g.End))
		}
	case "RoleAdd":
		a.Roles[name] = nil
	case "UserAdd":
		a.Users[name] = nil
	case "UserGrantRole":
		a.Users[name] = append(a.Users[name], second)
	case "UserRevokeRole":
		a.Users[name] = slices.DeleteFunc(a.Users[name], func(r string) bool { return r == second })
	case "RoleRevokePermission":
		a.Roles[name] = slices.DeleteFunc(a.Roles[name], func(g fact.Grant) bool { return g.Key == second && g.End == grant.End })
	case "RoleGrantPermission":
		_ = permission.fields(func(field int, number uint64, value message) {
			switch field {
			case 1:
				grant.Write = number == readWrite
			case 2:
				grant.Key = string(value)
			case 3:
				grant.End = string(value)
			}
		})
		a.Roles[name] = append(a.Roles[name], grant)
		slices.SortFunc(a.Roles[name], func(a, b fact.Grant) int { return cmp.Compare(a.Key, b.Key) })
	case "AuthEnable":
		a.Enabled = true
	}
	if strings.Contains(method, "Add") || strings.Contains(method, "Grant") || strings.Contains(method, "Revoke") || method == "AuthEnable" {
		a.did = append(a.did, method+" "+name)
	}
	if answer == nil {
		answer = message{}
	}
	grpcReply(w, answer, "0", "")
}

// TestSetAuth: users and roles become what they are to be, whatever they were; a second time nothing is done.
func TestSetAuth(t *testing.T) {
	want := fact.Auth{
		Enabled: true, Users: map[string][]string{"root": {"root"}, "cni": {"cni"}},
		Roles: map[string][]fact.Grant{"cni": {fact.Below("/a/", false), fact.Below("/b/", true)}},
	}
	for name, is := range map[string]fact.Auth{
		"nothing": {Users: map[string][]string{}, Roles: map[string][]fact.Grant{}},
		"more": {
			Enabled: true, Users: map[string][]string{"root": {"root"}, "cni": {"cni", "root"}},
			Roles: map[string][]fact.Grant{"cni": {fact.Below("/a/", true), fact.Below("/b/", true), fact.Below("/c/", true)}},
		},
		"less": {Users: map[string][]string{"cni": nil}, Roles: map[string][]fact.Grant{"cni": {fact.Below("/b/", false)}}},
	} {
		a := &authority{Auth: is}
		_, e := serveEtcd(t, a.ServeHTTP)
		for round := range 2 {
			a.did = nil
			if _, err := order(fact.Order{Etcd: *e, Auth: &want}); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if diff := gocmp.Diff(fact.Known(want), auth(e)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
			if (len(a.did) > 0) != (round == 0) {
				t.Errorf("%s, round %d: %v", name, round, a.did)
			}
		}
	}
}
