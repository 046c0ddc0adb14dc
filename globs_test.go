package gatekeeper

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGlobs(t *testing.T) {
	for _, tt := range []struct {
		globs Globs
		name  string
		want  bool
	}{
		{nil, "shop", false},
		{Globs{"*"}, "", true},
		{Globs{"*"}, "team/shop", true},
		{Globs{"shop"}, "shop-eu", false},
		{Globs{"pay", "shop-*"}, "shop-eu", true},
		{Globs{"shop-*"}, "my-shop-eu", false},
		{Globs{"haproxy/*"}, "haproxy/switch", true},
		{Globs{"/hooks/*/undo"}, "/hooks/a/b/undo", true},
		{Globs{"/hooks/*/undo"}, "/hooks/undo", false},
		{Globs{"Shop"}, "shop", false},
		{Globs{"[", "shop"}, "shop", true},
	} {
		require.Equal(t, tt.want, tt.globs.Match(tt.name), "%q %s", tt.globs, tt.name)
	}
	require.NoError(t, Globs{"*", "a?", "[a-z]"}.Err())
	require.ErrorContains(t, Globs{"a", "["}.Err(), `"["`)
	require.Error(t, Globs{""}.Err())
}
