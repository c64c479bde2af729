// Package scripts holds every shell script that runs on a machine, on this computer or in CI.
package scripts

import "embed"

//go:embed *.sh
var files embed.FS

// Text returns a script by its file name. One that is missing is a mistake in the caller.
func Text(name string) string {
	b, err := files.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return string(b)
}
