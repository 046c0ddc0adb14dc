package rules

// Bundle is a health file's text and that of the rule files it names, as a release carries it and
// the journal pins it.
type Bundle struct {
	Name      string            `json:"name"`                 // of the file, for messages
	File      string            `json:"file"`                 // its text
	RuleFiles map[string]string `json:"rule_files,omitempty"` // text by the path that rule_files names
}

// ReadBundle reads the health file at path and the rule files it names.
func ReadBundle(path string) (Bundle, error) { panic("soon") }

// Encode gives the bundle's canonical JSON: the same bundle always gives the same bytes.
func (b Bundle) Encode() []byte { panic("soon") }

// DecodeBundle takes what Encode gives.
func DecodeBundle(data []byte) (Bundle, error) { panic("soon") }
