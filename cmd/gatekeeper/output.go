package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper/internal/timeline"
)

// format is how a command prints what it found.
type format string

const (
	asText format = "text"
	asWide format = "wide"
	asJSON format = "json"
	asYAML format = "yaml"
)

// String gives the format's name.
func (f *format) String() string { return string(*f) }

// Set takes one of the names.
func (f *format) Set(s string) error {
	if !slices.Contains([]format{asText, asWide, asJSON, asYAML}, format(s)) {
		return fmt.Errorf("want text, wide, json or yaml")
	}
	*f = format(s)
	return nil
}

// Type is what the help calls it.
func (f *format) Type() string { return "format" }

func (f *format) flags(flags *pflag.FlagSet) {
	*f = asText
	flags.VarP(f, "output", "o", "text, wide, json or yaml")
}

// machine prints v as JSON or YAML if that was asked for.
func (f *format) machine(w io.Writer, v any) (done bool, err error) {
	if *f != asJSON && *f != asYAML {
		return false, nil
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false) // expressions are full of < and >
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return true, err
	}
	if *f == asJSON {
		_, err = w.Write(text.Bytes())
		return true, err
	}
	var node yaml.Node // keeps the order of the keys
	if err := yaml.Unmarshal(text.Bytes(), &node); err != nil {
		return true, err
	}
	block(&node)
	out, err := yaml.Marshal(&node)
	if err != nil {
		return true, err
	}
	_, err = w.Write(out)
	return true, err
}

// block undoes JSON's style, which YAML keeps otherwise.
func block(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		block(c)
	}
}

// table prints rows in columns, the first row as the head. What somebody wrote stays in its cell.
func table(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			indent := cell[:len(cell)-len(strings.TrimLeft(cell, " "))]
			cells[i] = indent + timeline.Plain(cell)
		}
		if _, err := fmt.Fprintln(t, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	return t.Flush()
}

// say prints lines for people, beside what a program reads from standard output.
func say(cmd *cobra.Command, format string, args ...any) {
	fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...)
}
