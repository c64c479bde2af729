// Package scripts holds every shell script that runs on a machine, on this computer or in CI.
package scripts

import "embed"

// FS has the scripts by their file names.
//
//go:embed *.sh
var FS embed.FS
