package magefile

import (
	"strings"
	"testing"
)

// TestCheckWords: what Mage would run is let through, a mistake in any place is found before anything is done.
func TestCheckWords(t *testing.T) {
	for line, want := range map[string]string{
		"": "", "verify": "", "destroy verify": "", "-v UP Check": "", "-t 5m up": "", "-t=5m up": "", "verify -json -timeline check -v": "", "dev:bump calico 3.31.1 verify": "",
		"Dev:benchmark -rounds=3 -nodes=10": "", "ssh calico1 no target -x": "", "destroy -force verify": "", "explain address 10.1.0.1 -json": "",
		"destroy verfy":             `there is no target "verfy"; nothing was done. Perhaps: go tool mage verify`,
		"destroy verify -jsn":       "verify has no flag -jsn",
		"destroy dev:bump calico":   "bump wants 1 more",
		"lint":                      "no target \"lint\"; nothing was done. Perhaps: go tool mage dev:lint",
		"verfy check":               "nothing was done. Perhaps: go tool mage verify",
		"destroy calico -force up":  "calico has no flag -force",
		"destroy -frce=true verify": "destroy has no flag -frce",
		"verify stop start chek":    `no target "chek"`,
		"-t=5m upp":                 `no target "upp"`,
		"-t 5m upp":                 `no target "upp"`,
	} {
		err := CheckWords("../..", strings.Fields(line))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, not %q", line, err, want)
		}
	}
}
