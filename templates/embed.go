// Package templates holds every file that is put on a machine: box/ as it stands, the others rendered.
package templates

import "embed"

// FS has the templates by their paths.
//
//go:embed all:box *.tmpl
var FS embed.FS
