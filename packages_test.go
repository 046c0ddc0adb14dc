package gatekeeper_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every package says what it is for, in the form that go doc shows.
func TestPackagesAreDocumented(t *testing.T) {
	said := map[string]bool{} // by folder
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		dir := filepath.Dir(path)
		begin := "Package " + file.Name.Name + " "
		if file.Name.Name == "main" {
			begin = "Command " + filepath.Base(dir) + " "
		}
		said[dir] = said[dir] || strings.HasPrefix(file.Doc.Text(), begin)
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, len(said), 20, "the packages were not found")
	for dir, ok := range said {
		require.True(t, ok, "package %s has no comment that begins with Package or Command and its name", dir)
	}
}
