package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/lint"
)

// fixFiles writes the safe rewrites of a health file and its rule files, and gives the bundle as it is
// then.
func fixFiles(cmd *cobra.Command, b rules.Bundle, o lint.Options) (rules.Bundle, error) {
	fixed, made, err := lint.Fix(cmd.Context(), b, o)
	if err != nil || made == 0 {
		return b, err
	}
	for _, name := range b.Files() {
		was, _ := b.Text(name)
		if now, _ := fixed.Text(name); now != was {
			if err := replaceFile(name, now); err != nil {
				return b, err
			}
			say(cmd, "%s: rewritten", name)
		}
	}
	say(cmd, "%s: %d safe rewrites made", b.Name, made)
	return fixed, nil
}

// replaceFile puts a text in the place of a file's, wholly or not at all. Its permissions stay, and a
// symbolic link goes on to name it.
func replaceFile(name, text string) (err error) {
	path, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Chmod(info.Mode().Perm()), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
