package main

import (
	"encoding/json"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/chart"
	"github.com/gatekeeper-engine/gatekeeper/internal/explain"
	"github.com/gatekeeper-engine/gatekeeper/internal/timeline"
)

// explaining is what explain was asked for.
type explaining struct {
	from     record
	out      format
	rule     string
	svg, png string
	noChart  bool
}

func explainCommand() *cobra.Command {
	var x explaining
	cmd := &cobra.Command{
		Use: "explain [ID]", Short: "Tell from the journal alone why a release was rolled back, or why not",
		Long: `Explain tells why a release was rolled back, or why not: what each rule said slot by slot, what stood
between a breach and the decision, what was done and observed, with every time, and a chart. It reads
nothing but the journal: that of a running daemon, of a stopped one with --data-dir, of a snapshot with
--snapshot, or facts as JSON with --facts, as the API gives them; then ID may be left out.

The record is replayed by the daemon's own code, and must lead to the same decision; exit code 1 says that
it does not. Facts alone are not replayed: they come without the health file that the release pinned.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return x.run(cmd, args) },
	}
	x.from.flags(cmd.Flags())
	x.out.flags(cmd.Flags())
	f := cmd.Flags()
	f.StringVar(&x.rule, "rule", "", "tell of this rule only, and draw it; else all are told, and the worst is drawn")
	f.StringVar(&x.svg, "svg", "", "write the chart as SVG to this file")
	f.StringVar(&x.png, "png", "", "write the chart as PNG to this file")
	f.BoolVar(&x.noChart, "no-chart", false, "draw no chart in the terminal")
	return cmd
}

func (x *explaining) run(cmd *cobra.Command, args []string) error {
	id := ""
	if len(args) > 0 {
		id = args[0]
	}
	found, err := x.from.read(cmd.Context(), cmd.InOrStdin(), id)
	if err != nil {
		return err
	}
	e, err := explain.Of(found.id, found.facts, found.file)
	if err != nil {
		return err
	}
	picture, drawn := e.Chart(x.rule)
	if x.rule != "" && !drawn {
		return gatekeeper.Errorf(gatekeeper.CodeNotFound, "the record tells of: "+strings.Join(chart.Rules(found.facts), ", "), "the release has no rule %q", x.rule)
	}
	if err := drawFiles(picture, x.svg, x.png, pictureWidth, pictureHeight); err != nil {
		return err
	}
	if done, err := x.out.machine(cmd.OutOrStdout(), e); err != nil {
		return err
	} else if !done {
		if err := e.Write(cmd.OutOrStdout(), explain.Options{Rule: x.rule, Terminal: x.terminal(cmd.OutOrStdout())}); err != nil {
			return err
		}
	}
	if e.Replay == nil {
		say(cmd, "not replayed: %s", found.why)
	} else if !e.Replay.Same() {
		return exit{exitError}
	}
	return nil
}

// The size of the pictures in files, in pixels; a PNG has twice as many.
const pictureWidth, pictureHeight = 900, 400

// terminal says what the chart is drawn for.
func (x *explaining) terminal(w io.Writer) chart.Terminal {
	if x.noChart {
		return chart.Terminal{}
	}
	t := chart.Terminal{Columns: 100, Rows: 12, ASCII: !utf8Locale()}
	if f, ok := w.(*os.File); ok {
		t.Color = timeline.Color(f)
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
			t.Columns = min(columns, 160)
		}
	}
	return t
}

// utf8Locale says whether the locale's characters are those of UTF-8, by the rules of POSIX: the
// first of these that is set counts. None set is taken as UTF-8, as containers do not set any.
func utf8Locale() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := os.Getenv(name); v != "" {
			v = strings.ToLower(v)
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return true
}

// decodeFacts reads facts as the API gives them: {"facts": […]}, or the list alone.
func decodeFacts(data []byte) ([]gatekeeper.Fact, error) {
	var list struct {
		Facts []gatekeeper.Fact `json:"facts"`
	}
	err := json.Unmarshal(data, &list)
	if strings.HasPrefix(strings.TrimSpace(string(data)), "[") {
		err = json.Unmarshal(data, &list.Facts)
	}
	if err != nil {
		return nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, "give what GET /api/v1/releases/ID/facts answers", "the facts can't be read: %w", err)
	}
	return list.Facts, nil
}
