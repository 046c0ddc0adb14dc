package rules

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

func TestReadBundle(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/secret", "key")
	write(t, dir+"/repo/a/rules.yml", "groups: []")
	write(t, dir+"/repo/health.yml", "rule_files: [a/rules.yml, a/rules.yml, ../secret, none.yml]\nwindow: [wrong]")
	b, err := ReadBundle(dir + "/repo/health.yml")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"a/rules.yml": "groups: []"}, b.RuleFiles)
	_, err = Load(b)
	require.ErrorContains(t, err, `the rule file "../secret" is outside the health file's folder`)
	require.ErrorContains(t, err, `there is no rule file "none.yml"`)

	decoded, err := DecodeBundle(b.Encode())
	require.NoError(t, err)
	require.Equal(t, b, decoded)
	require.Equal(t, b.Encode(), decoded.Encode())

	t.Run("a symbolic link out of the folder", func(t *testing.T) {
		require.NoError(t, os.Symlink("../secret", dir+"/repo/link.yml"))
		write(t, dir+"/repo/linked.yml", "rule_files: [link.yml]")
		_, err := ReadBundle(dir + "/repo/linked.yml")
		require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err))
		require.ErrorContains(t, err, "escapes")
	})
	t.Run("too much", func(t *testing.T) {
		write(t, dir+"/repo/big.yml", strings.Repeat("#", MaxBundle-10))
		write(t, dir+"/repo/health2.yml", "rule_files: [big.yml]")
		_, err := ReadBundle(dir + "/repo/health2.yml")
		require.ErrorContains(t, err, "more than 1048576 bytes")
	})
	t.Run("a folder", func(t *testing.T) {
		_, err := ReadBundle(dir + "/repo")
		require.ErrorContains(t, err, "no regular file")
	})
	t.Run("a pipe without a writer", func(t *testing.T) {
		require.NoError(t, syscall.Mkfifo(dir+"/repo/pipe.yml", 0o600))
		_, err := ReadBundle(dir + "/repo/pipe.yml")
		require.ErrorContains(t, err, "no regular file")
	})
	t.Run("nothing", func(t *testing.T) {
		_, err := ReadBundle(dir + "/repo/nothing.yml")
		require.ErrorIs(t, err, os.ErrNotExist)
	})
}

func TestDecodeBundleIsStrict(t *testing.T) {
	for name, text := range map[string]string{
		"unknown field": `{"file": "", "files": {}}`, "wrong type": `{"file": 1}`, "no JSON": `service: x`, "more": `{"file": ""} {}`,
		"too much": `{"file": "` + strings.Repeat("x", MaxBundle+1) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DecodeBundle([]byte(text))
			require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err))
		})
	}
}

func TestLoadRefusesRuleFilesThatNobodyNamed(t *testing.T) {
	_, err := Load(Bundle{File: "groups: [{name: g, rules: [{alert: A, expr: a > 1}]}]", RuleFiles: map[string]string{"x.yml": "groups: []"}})
	require.ErrorContains(t, err, `has a rule file "x.yml" that the health file does not name`)
}

func TestRenderKeepsTheTerminalSafe(t *testing.T) {
	b := Bundle{Name: "a\x1b[2Jb.yml", File: "service: x\nzzz: \"\x1b]0;evil\a\"\n"}
	_, err := Load(b)
	var problems Problems
	require.ErrorAs(t, err, &problems)
	require.NotContains(t, rendered(t, problems, b), "\x1b")
	require.NotContains(t, err.Error(), "\x1b")
}

func TestRenderTabs(t *testing.T) {
	text, caret := excerpt("\tab\tc", 5, 9)
	require.Equal(t, "\tab\tc", text)
	require.Equal(t, "\t  \t^", caret)
}

func TestDidYouMean(t *testing.T) {
	require.Equal(t, `Did you mean "rate"?`, didYouMean("rat", []string{"rad", "rate"}))
	require.Empty(t, didYouMean("colour", []string{"window", "service"}))
	require.Empty(t, didYouMean(strings.Repeat("x", 5000), []string{"window"}))
}
