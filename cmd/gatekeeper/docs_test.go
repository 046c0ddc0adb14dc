package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper/actions/builtin"
	"github.com/gatekeeper-engine/gatekeeper/internal/config"
	"github.com/gatekeeper-engine/gatekeeper/internal/notify"
	"github.com/gatekeeper-engine/gatekeeper/internal/pagerduty"
	prometheusapi "github.com/gatekeeper-engine/gatekeeper/internal/prometheus"
	"github.com/gatekeeper-engine/gatekeeper/internal/slack"
	"github.com/gatekeeper-engine/gatekeeper/internal/tsdb"
	"github.com/gatekeeper-engine/gatekeeper/internal/webhook"
)

// The guides are written by hand; these tests find what the code has and they have not.

func page(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", path))
	require.NoError(t, err)
	return string(text)
}

var healthKey = regexp.MustCompile(`name: "([a-z_]+)"`)

func TestGuideHasEveryKeyOfAHealthFile(t *testing.T) {
	guide, found := page(t, "docs/guides/health-files.md"), 0
	for _, file := range []string{"load.go", "groups.go", "respond.go", "plan.go"} {
		for _, m := range healthKey.FindAllStringSubmatch(page(t, "rules/"+file), -1) {
			found++
			require.True(t, strings.Contains(guide, "`"+m[1]+"`"), "the guide lacks the key %q, which rules/%s reads", m[1], file)
		}
	}
	require.Greater(t, found, 40, "the keys are where this test looks for them")
}

func TestGuideHasEveryKeyOfTheConfiguration(t *testing.T) {
	guide := page(t, "docs/guides/configuration.md")
	channels := guide + page(t, "docs/guides/notifications.md")
	var look func(reflect.Type)
	look = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || !strings.HasPrefix(typ.PkgPath(), "github.com/gatekeeper-engine/") {
			return
		}
		for i := range typ.NumField() {
			f := typ.Field(i)
			if name, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); name != "-" {
				if name != "" {
					require.True(t, strings.Contains(guide, "`"+name+"`") || strings.Contains(guide, "`"+name+":`"), "the guide lacks the key %q of %s", name, typ)
				}
				look(f.Type)
			}
		}
	}
	look(reflect.TypeFor[config.Config]())
	look(reflect.TypeFor[prometheusapi.Config]())
	look(reflect.TypeFor[tsdb.Config]())
	look(reflect.TypeFor[storeConfig]())
	guide = channels
	look(reflect.TypeFor[slack.Config]())
	look(reflect.TypeFor[pagerduty.Config]())
	look(reflect.TypeFor[webhook.Config]())
	for _, event := range notify.Events() {
		require.Contains(t, page(t, "docs/guides/notifications.md"), "`"+string(event)+"`")
	}
}

func TestGuideHasEveryAction(t *testing.T) {
	registry, err := builtin.Registry(nil)
	require.NoError(t, err)
	guide, all := page(t, "docs/guides/actions.md"), describe(registry)
	require.NotEmpty(t, all)
	for _, a := range all {
		require.True(t, strings.Contains(guide, "\n## "+a.Name+"\n"), "the guide has no section of %s", a.Name)
	}
}

var listed = regexp.MustCompile(`(?m)^  ([a-z-]+) +\S`)

func TestReadmeHasEveryCommand(t *testing.T) {
	readme, found := page(t, "README.md"), 0
	var look func(path ...string)
	look = func(path ...string) {
		var help bytes.Buffer
		require.Zero(t, run(t.Context(), append(path, "--help"), &help, &help))
		_, text, _ := strings.Cut(help.String(), "Available Commands:\n")
		text, _, _ = strings.Cut(text, "\n\n")
		for _, m := range listed.FindAllStringSubmatch(text, -1) {
			if m[1] == "help" {
				continue
			}
			found++
			command := strings.Join(append([]string{"gatekeeper"}, append(path, m[1])...), " ")
			row := regexp.MustCompile("(?m)`" + command + "[ `]|`gatekeeper " + strings.Join(path, " ") + ".*`" + m[1] + "[ `]")
			require.True(t, row.MatchString(readme), "the table of commands lacks %s", command)
			look(append(path[:len(path):len(path)], m[1])...)
		}
	}
	look()
	require.Greater(t, found, 20)
}

var link = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	pages := []string{"../../README.md"}
	for _, dir := range []string{"../../docs", "../../examples"} {
		require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if strings.HasSuffix(path, ".md") {
				pages = append(pages, path)
			}
			return err
		}))
	}
	require.Greater(t, len(pages), 10)
	for _, from := range pages {
		text, err := os.ReadFile(from)
		require.NoError(t, err)
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			_, err := os.Stat(filepath.Join(filepath.Dir(from), m[1]))
			require.NoError(t, err, "linked in %s", from)
		}
	}
}
