// Package recorded reads what was recorded of labs, for tests: files NAME.json.gz.
package recorded

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// Lab reads the facts of a look.
func Lab(t testing.TB, file string) *fact.Lab {
	t.Helper()
	var f fact.Lab
	Read(t, file, &f)
	return &f
}

// Read reads anything that was written as JSON.
func Read(t testing.TB, file string, into any) {
	t.Helper()
	packed, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	z, err := gzip.NewReader(packed)
	if err == nil {
		err = json.NewDecoder(z).Decode(into)
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// Write records data, which is JSON.
func Write(t testing.TB, file string, data []byte) {
	t.Helper()
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(out)
	_, err = z.Write(data)
	if err := errors.Join(err, z.Close(), out.Close()); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}
