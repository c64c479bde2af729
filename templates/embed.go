// Package templates holds every file that is put on a machine: box/ and vm/ as they stand.
package templates

import "embed"

// FS has the templates by their paths.
//
//go:embed all:box all:vm vagrant *.tmpl
var FS embed.FS
