package actions

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gatekeeper-engine/gatekeeper/internal/suggest"
)

// Suggest gives `; did you mean "x"?` where one of known is close to what was written, the list
// of known otherwise, and "" if there is none.
func Suggest(written string, known []string) string {
	if len(known) == 0 {
		return ""
	}
	if name, ok := suggest.Nearest(written, known); ok {
		return fmt.Sprintf("; did you mean %q?", name)
	}
	return "; known are " + strings.Join(slices.Sorted(slices.Values(known)), ", ")
}
