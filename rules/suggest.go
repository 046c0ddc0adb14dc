package rules

import (
	"fmt"

	"github.com/gatekeeper-engine/gatekeeper/internal/suggest"
)

// didYouMean gives a hint with the known name nearest to a wrong one, or "".
func didYouMean(wrong string, known []string) string {
	name, ok := suggest.Nearest(wrong, known)
	if !ok {
		return ""
	}
	return fmt.Sprintf("Did you mean %q?", name)
}
