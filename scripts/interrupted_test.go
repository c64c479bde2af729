package scripts_test

import (
	"testing"
)

// lab is how the stages put something at a path: a file, with a text, or a directory, whose path has a slash at its end.
const lab = `
lab() {
	local path=${1%/}
	local new=$path.calico-cni-lab-part
	note "$path"
	mkdir -p "${path%/*}"
	rm -rf "$new"
	if [[ $1 == */ ]]; then mkdir "$new"; echo lab >"$new/x"; echo lab >"$new/y"; else echo "${2-lab}" >"$new"; fi
	place "$new" "$path" "$(fingerprint "$new")"
}
strange=$U/a$'\n'"'\"]\$(id)%*"$'\n'
journal_open
`

const undo = `
journal_open
restore_all
leave`

// journeys are what a user has, and what the lab puts there.
var journeys = map[string]struct{ user, lab string }{
	"files": {
		`echo mine >"$U/cfg"; chmod 640 "$U/cfg"; touch -d 2020-01-01 "$U/cfg"; if [ "$(id -u)" = 0 ]; then chown 1:2 "$U/cfg"; fi
		echo same >"$U/same"; chmod 600 "$U/same"; echo strange >"$U/a"$'\n'"'\"]\$(id)%*"$'\n'`,
		`note "$U/cfg" "$U/same"; lab "$U/cfg"; lab "$U/same" same; lab "$strange"`,
	},
	"a directory": {
		`mkdir -p "$U/go/src"; echo one >"$U/go/VERSION"; echo two >"$U/go/src/a b"; ln "$U/go/VERSION" "$U/go/src/hard"
		ln -s ../VERSION "$U/go/src/link"; touch -d 2020-01-01 "$U/go/src" "$U/go"; if [ "$(id -u)" = 0 ]; then chown -hR 1:2 "$U/go"; fi`,
		`lab "$U/go/"`,
	},
	"a link, an empty directory": {`ln -s /nowhere "$U/link"; mkdir "$U/empty"`, `lab "$U/link"; lab "$U/empty"`},
	"nothing":                    {``, `lab "$U/new dir/deep/file"; lab "$U/tree/"`},
	"what programs make": {
		`mkdir "$U/var"; echo mine >"$U/var/x"`,
		`note_filled "$U/var/lib/x-*" "$U/own"; mkdir -p "$U/var/lib/x-1" "$U/own"; echo >"$U/var/lib/x-1/f"; echo >"$U/own/f"; echo >"$U/var/lib/x-2"`,
	},
}

// each runs f for each journey, on a machine that has only what the user has.
func each(t *testing.T, f func(m *machine, put, before string)) {
	for name, j := range journeys {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.ok(j.user)
			f(m, lab+j.lab, m.listing())
		})
	}
}

// TestUndoInterrupted: whatever an undo was interrupted at, the next gives back what was there before.
func TestUndoInterrupted(t *testing.T) {
	each(t, func(m *machine, put, before string) {
		m.ok(put)
		if m.listing() == before {
			m.t.Fatal("the lab has put nothing")
		}
		m.everywhere(undo, func(where string) { m.undone(where, before) })
		m.undone("again", before)
	})
}

// TestPutInterrupted: whatever putting was interrupted at, an undo gives back what was there before, at once or after the next run
// has finished the job.
func TestPutInterrupted(t *testing.T) {
	each(t, func(m *machine, put, before string) {
		n := 0
		m.everywhere(put, func(where string) {
			if n++; n%2 == 0 {
				m.ok(put)
			}
			m.undone(where, before)
		})
		m.undone("not interrupted", before)
	})
}
