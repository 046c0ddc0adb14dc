package ruletest

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper/internal/rehearsal"
)

// The guide is written by hand; this finds what a test file may have and the guide has not.
func TestGuideHasEveryKeyAndWord(t *testing.T) {
	text, err := os.ReadFile("../../docs/guides/testing.md")
	require.NoError(t, err)
	has := func(word string) {
		t.Helper()
		guide := string(text)
		require.True(t, strings.Contains(guide, "`"+word+"`") || strings.Contains(guide, "`"+word+":") || strings.Contains(guide, word+"`"), "the guide lacks %q", word)
	}
	var look func(reflect.Type)
	look = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || typ.PkgPath() != reflect.TypeFor[File]().PkgPath() {
			return
		}
		for i := range typ.NumField() {
			if name := typ.Field(i).Tag.Get("yaml"); name != "" && name != "-" {
				has(name)
				look(typ.Field(i).Type)
			}
		}
	}
	look(reflect.TypeFor[File]())
	for name, word := range facts {
		has(name)
		for _, value := range word.values {
			has(value)
		}
	}
	for _, verb := range rehearsal.Verbs {
		has(string(verb))
	}
}
