// Package templates holds every file that is put on a machine: box/, vm/ and docker/ as they stand.
package templates

import "embed"

// FS has the templates by their paths.
//
//go:embed all:box all:vm all:docker vagrant *.tmpl
var FS embed.FS
