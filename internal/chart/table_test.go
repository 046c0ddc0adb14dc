package chart

import (
	"bytes"
	"image/png"
	"testing"

	"github.com/stretchr/testify/require"
)

// swept is a table with every shade and frame.
func swept() Table {
	return Table{
		Title: "HighErrorRate", Subtitle: "no false rollback, <none> missed", Across: "for", Down: "threshold",
		Columns: []string{"30s", "2m"}, Rows: []string{"> 0.01", "> 0.05"},
		Cells: [][]Cell{
			{{Text: "2/0 45s", Shade: Poor}, {Text: "0/0 2m15s", Shade: Well, Best: true}},
			{{Text: "0/1 45s", Shade: Fair, Own: true}, {Text: "0", Shade: Blank}},
		},
	}
}

func TestTable(t *testing.T) {
	var svg, image bytes.Buffer
	require.NoError(t, swept().SVG(&svg, 900, 400))
	wellFormed(t, svg.String())
	for _, text := range []string{"2/0 45s", "0/0 2m15s", "0/1 45s", "&gt; 0.05", "2m", "recommended", "&lt;none&gt;"} {
		require.Contains(t, svg.String(), text)
	}
	require.NoError(t, swept().PNG(&image, 900, 400))
	drawn, err := png.Decode(&image)
	require.NoError(t, err)
	require.Equal(t, 1800, drawn.Bounds().Dx())
	require.Error(t, swept().SVG(&svg, 0, 0))
	require.NoError(t, Table{}.SVG(&svg, MinWidth, MinHeight), "nothing is no harm")
}
