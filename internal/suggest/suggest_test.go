package suggest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNearest(t *testing.T) {
	known := []string{"window", "start_within", "min_traffic", "groups", "respond", "rollback", "rollback_all"}
	for wrong, want := range map[string]string{
		"windw": "window", "Window": "window", "rolback": "rollback", "min_trafic": "min_traffic", "group": "groups",
		"colour": "", "": "", strings.Repeat("x", 1000): "",
	} {
		got, ok := Nearest(wrong, known)
		require.Equal(t, want, got, wrong)
		require.Equal(t, want != "", ok)
	}
	_, ok := Nearest("window", nil)
	require.False(t, ok)
}
