// Package secret takes what looks like a secret out of a text that somebody else may read: a log, an archive for a bug report.
// It goes by form, so a secret of no known form and under no telling name stays: read an archive before you publish it.
package secret

import (
	"regexp"
	"slices"
	"strings"
)

// Masked stands where a secret was.
const Masked = "(masked)"

// rule masks what one form of secret looks like.
type rule struct {
	hints []string // lower case; a text that has none of them is not searched, which takes long
	form  *regexp.Regexp
	with  string // what comes there, in Regexp.Expand's form
}

// names are parts of the names of variables, flags and fields that have secrets.
var names = []string{
	"passw", "passphrase", "secret", "token", "api_key", "api-key", "apikey", "access_key", "access-key", "accesskey", "private_key", "private-key",
	"privatekey", "preshared", "credential", "_pwd", "_pass", "_auth", "etcdctl_user",
}

// name is a whole name with one of names in it.
var name = `[a-z0-9_.-]*(?:` + strings.Join(names, "|") + `)[a-z0-9_.-]*`

// quotes are quotation marks, in JSON in JSON too.
const quotes = `\\*["']`

// blocks are of several lines.
var blocks = []rule{
	{[]string{"private-lines:"}, regexp.MustCompile(`(Private-Lines: \d+)(?:\s+[A-Za-z0-9+/=]{20,})+`), "$1 " + Masked}, // PuTTY's
	// YAML's blocks of lines.
	{names, regexp.MustCompile(`(?im)(^[ -]*` + name + `:[ ]*[|>][0-9+-]*[ ]*\n)((?:[ \t]+\S.*\n?)+)`), "${1}  " + Masked + "\n"},
}

// rules are of one line each.
var rules = []rule{
	{[]string{"age-secret-key-"}, regexp.MustCompile(`AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Z]+`), Masked},
	{[]string{"eyj"}, regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){2,4}`), Masked},                  // JWT, RFC 7519
	{[]string{"akia", "asia", "abia", "acca"}, regexp.MustCompile(`\b(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}\b`), Masked}, // Amazon's
	{
		[]string{"gh", "github_pat_", "glpat-", "xox", "aiza", "npm_", "pypi-", "dckr_", "hvs.", "sk-", "sk_live_"},
		regexp.MustCompile(`\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{22,}|glpat-[\w-]{20,}|xox[abeoprs]-[\w-]{10,}|AIza[\w-]{35}|npm_[A-Za-z0-9]{36}` +
			`|pypi-[\w-]{50,}|dckr_[a-z]+_[\w-]{20,}|hvs\.[\w-]{20,}|sk-[\w-]{20,}|sk_live_\w{16,})`), Masked,
	},
	{[]string{"bearer "}, regexp.MustCompile(`(?i)(\bbearer\s+)[a-z0-9._~+/-]{8,}=*`), "${1}" + Masked},
	{[]string{"authorization"}, regexp.MustCompile(`(?i)(authorization` + quotes + `?\s*[:=]\s*` + quotes + `?(?:[a-z]+\s+)?)[^\s"'\\,;()]+`), "${1}" + Masked},
	// crypt(5), as in /etc/shadow.
	{[]string{"$"}, regexp.MustCompile(`\$(?:1|2[abxy]|5|6|7|y|gy|argon2[a-z]+)\$[./A-Za-z0-9$=,+]{20,}`), Masked},
	{[]string{"://"}, regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^\s/:@"'<>]*:[^\s/"'<>]*@`), "${1}" + Masked + "@"},
	{[]string{"://"}, regexp.MustCompile(`(https?://)[^\s/:@"'<>()]{16,}@`), "${1}" + Masked + "@"},
	{[]string{"_proxy"}, regexp.MustCompile(`(?i)(_proxy` + quotes + `?\s*[:=]\s*` + quotes + `?)[^\s/:@"'<>]+:[^\s/"'<>]*@`), "${1}" + Masked + "@"},
	// curl -u, etcdctl --user; not a user's and a group's number.
	{[]string{"-u", "user"}, regexp.MustCompile(`(\s(?:-u|-U|--user|--proxy-user)[ =]["']?[^\s:"']+:)[^\s"']*[^\s"'0-9][^\s"']*`), "${1}" + Masked},
	{[]string{"sshpass"}, regexp.MustCompile(`(sshpass\s+-p\s*)\S+`), "${1}" + Masked},
	// "NAME=VALUE" and "NAME": "VALUE", up to the closing quotation mark.
	{names, regexp.MustCompile(`(?i)("` + name + `=)((?:[^"\\]|\\.)+)`), "${1}" + Masked},
	{names, regexp.MustCompile(`(?i)(\b` + name + `(?:(?:` + quotes + `)?\s*[:=]\s*|\s+)")((?:[^"\\]|\\.)+)`), "${1}" + Masked},
	{names, regexp.MustCompile(`(?i)(\b` + name + `(?:'?\s*[:=]\s*|\s+)')([^']+)`), "${1}" + Masked},
	// NAME=VALUE, NAME: VALUE, --NAME VALUE.
	{names, regexp.MustCompile(`(?i)(\b` + name + `(?:` + quotes + `)?\s*=\s*(?:` + quotes + `)?)([^\s"'\\,;&]+)`), "${1}" + Masked},
	{names, regexp.MustCompile(`(?im)(\b` + name + `(?:` + quotes + `)?:[ \t]*(?:` + quotes + `)?)([^\s"'\\|>{\[][^"'\\\n]*)`), "${1}" + Masked},
	{names, regexp.MustCompile(`(?i)(\s--?` + name + `\s+)([^\s"'-][^\s"']*)`), "${1}" + Masked},
}

// harmless are values that are no secrets, whatever their name.
var harmless = regexp.MustCompile(`(?i)^(?:true|false|null|nil|none|yes|no|0|1|` + regexp.QuoteMeta(Masked) + `.*)\W*$`)

// files are names whose value is where a secret lies, not the secret.
var files = regexp.MustCompile(`(?i)(?:file|path|dir)["'\\]*\s*[:=]?\s*["'\\]*$`)

// Mask returns the text without what looks like a secret.
func Mask(text string) string {
	text = apply(blocks, maskKeys(text))
	if !hasAny(strings.ToLower(text), hints) {
		return text
	}
	var out strings.Builder
	for line := range strings.Lines(text) {
		out.WriteString(apply(rules, line))
	}
	return out.String()
}

// hints are those of all rules.
var hints = func() (all []string) {
	for _, r := range rules {
		all = append(all, r.hints...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}()

func apply(rules []rule, text string) string {
	lower := strings.ToLower(text)
	for _, r := range rules {
		if !hasAny(lower, r.hints) {
			continue
		}
		text = r.form.ReplaceAllStringFunc(text, func(found string) string {
			m := r.form.FindStringSubmatch(found)
			if m == nil { // only what stands before it made it match; that is no reason to keep it
				return Masked
			}
			if len(m) > 2 && (harmless.MatchString(strings.TrimSpace(m[2])) || files.MatchString(m[1]) && strings.HasPrefix(m[2], "/")) {
				return found
			}
			return string(r.form.ExpandString(nil, r.with, found, r.form.FindStringSubmatchIndex(found)))
		})
	}
	return text
}

func hasAny(text string, parts []string) bool {
	for _, p := range parts {
		if strings.Contains(text, p) {
			return true
		}
	}
	return false
}
