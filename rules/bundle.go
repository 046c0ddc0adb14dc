package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper"
)

// MaxBundle is how many bytes a health file and its rule files may have together.
const MaxBundle = 1 << 20

// Bundle is a health file's text and that of the rule files it names, as a release carries it and
// the journal pins it.
type Bundle struct {
	Name      string            `json:"name"`                 // of the file, for messages
	File      string            `json:"file"`                 // its text
	RuleFiles map[string]string `json:"rule_files,omitempty"` // text by the path that rule_files names
}

// ReadBundle reads the health file at path and the rule files it names. Those lie in its folder
// or below: a path that leaves it is an error, by symbolic links too. What else is wrong in the
// files is left for [Load] to tell.
func ReadBundle(name string) (Bundle, error) {
	root, err := os.OpenRoot(filepath.Dir(name))
	if err != nil {
		return Bundle{}, unreadable(name, err)
	}
	defer func() { _ = root.Close() }() // nothing is written to it
	left := MaxBundle
	text, err := readCapped(root, filepath.Base(name), &left)
	if err != nil {
		return Bundle{}, unreadable(name, err)
	}
	b := Bundle{Name: filepath.ToSlash(filepath.Clean(name)), File: text}
	for _, file := range namedRuleFiles(text) {
		if _, ok := b.RuleFiles[file]; ok || !localPath(file) {
			continue // Load tells of it, with its position
		}
		text, err := readCapped(root, filepath.FromSlash(file), &left)
		if errors.Is(err, fs.ErrNotExist) {
			continue // Load tells of it, with its position
		}
		if err != nil {
			return Bundle{}, unreadable(b.titleOf(file), err)
		}
		if b.RuleFiles == nil {
			b.RuleFiles = map[string]string{}
		}
		b.RuleFiles[file] = text
	}
	return b, nil
}

func unreadable(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, "Is its path right?", "there is no health file %s: %w", name, err)
	}
	return gatekeeper.Errorf(gatekeeper.CodeInvalid,
		"Rule files lie in the health file's folder or below it; all files together have at most 1 MiB.",
		"can't read the health file %s: %w", name, err)
}

func readCapped(root *os.Root, name string, left *int) (string, error) {
	if info, err := root.Stat(name); err == nil && !info.Mode().IsRegular() { // not opened: a pipe would wait for a writer
		return "", fmt.Errorf("it is no regular file")
	}
	f, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // nothing is written to it
	data, err := io.ReadAll(io.LimitReader(f, int64(*left)+1))
	if err != nil {
		return "", err
	}
	if *left -= len(data); *left < 0 {
		return "", fmt.Errorf("the health file and its rule files have more than %d bytes", MaxBundle)
	}
	return string(data), nil
}

// namedRuleFiles gives what stands under rule_files, however wrong the rest of the file is.
func namedRuleFiles(text string) []string {
	var top struct {
		RuleFiles []string `yaml:"rule_files"`
	}
	if err := yaml.Unmarshal([]byte(text), &top); err != nil {
		var partly *yaml.TypeError
		if !errors.As(err, &partly) {
			return nil // no YAML: Load tells where
		}
	}
	return top.RuleFiles
}

// localPath says whether a path of rule_files stays in the health file's folder.
func localPath(p string) bool {
	return p != "." && filepath.IsLocal(filepath.FromSlash(p)) && path.Clean(p) == p
}

// size is how many bytes the files have together.
func (b Bundle) size() int {
	n := len(b.File)
	for _, text := range b.RuleFiles {
		n += len(text)
	}
	return n
}

// title is the health file's name in messages.
func (b Bundle) title() string {
	if b.Name == "" {
		return "health file"
	}
	return b.Name
}

// titleOf is a rule file's name in messages.
func (b Bundle) titleOf(ruleFile string) string {
	return path.Join(path.Dir(b.Name), ruleFile)
}

// Encode gives the bundle's canonical JSON: the same bundle always gives the same bytes.
func (b Bundle) Encode() []byte {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(b); err != nil {
		panic(fmt.Sprintf("a bundle of texts that JSON can't hold: %v", err)) // no value of the type does
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

// DecodeBundle takes what Encode gives, and what a client sends in its place: an unknown field and
// more than [MaxBundle] bytes are errors.
func DecodeBundle(data []byte) (Bundle, error) {
	var b Bundle
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&b); err != nil {
		return Bundle{}, gatekeeper.Errorf(gatekeeper.CodeInvalid, "It is JSON with name, file and rule_files, the contents as text.",
			"the bundle of the health file can't be read: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Bundle{}, gatekeeper.Errorf(gatekeeper.CodeInvalid, "", "the bundle of the health file has something after its end")
	}
	if n := b.size(); n > MaxBundle {
		return Bundle{}, gatekeeper.Errorf(gatekeeper.CodeInvalid, "Split the rules over several services' files.",
			"the health file and its rule files have %d bytes, more than %d", n, MaxBundle)
	}
	return b, nil
}
