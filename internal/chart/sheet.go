package chart

import "strings"

// signs are the characters of a drawing.
type signs struct {
	across, down  int // points in a character
	limit, mark   rune
	axis, corner  rune
	bottom, tick  rune
	lines         [2]rune // in ASCII, of the released and the returned version
	bad           rune    // in ASCII
	up, low, none rune    // beyond the upper edge, beyond the lower, not a number
	spans         map[SpanKind]rune
}

var (
	braille = signs{
		across: 2, down: 4, limit: '╌', mark: '▲', axis: '┤', corner: '└', bottom: '─', tick: '┴', up: '▲', low: '▼', none: '×',
		spans: map[SpanKind]rune{Pending: '▒', StillBad: '▓', Blind: '░', NoTraffic: '·', Early: '˙', Held: '█'},
	}
	ascii = signs{
		across: 1, down: 1, limit: '-', mark: '^', axis: '|', corner: '+', bottom: '-', tick: '+', up: '^', low: 'v', none: 'x',
		lines: [2]rune{'*', 'o'}, bad: '#',
		spans: map[SpanKind]rune{Pending: '=', StillBad: '%', Blind: '?', NoTraffic: '.', Early: '~', Held: 'H'},
	}
)

// The colours of a terminal, as SGR codes.
const (
	sgrReleased = "36"
	sgrReturned = "32"
	sgrBad      = "1;31"
	sgrLimit    = "31"
	sgrQuiet    = "2"
	sgrLoud     = "1"
)

var sgrSpans = map[SpanKind]string{Pending: "33", StillBad: "33", Blind: sgrQuiet, NoTraffic: sgrQuiet, Early: sgrQuiet, Held: "35"}

// cell is one character with its colour.
type cell struct {
	sign rune
	dots uint8 // of a braille character, where sign is 0
	sgr  string
}

// sheet is a grid of characters.
type sheet struct {
	Terminal
	signs
	cells [][]cell
}

func newSheet(t Terminal, columns, rows int) *sheet {
	s := &sheet{Terminal: t, signs: braille, cells: make([][]cell, rows)}
	if t.ASCII {
		s.signs = ascii
	}
	for i := range s.cells {
		s.cells[i] = make([]cell, columns)
	}
	return s
}

func (s *sheet) put(column, row int, sign rune, sgr string) {
	if row >= 0 && row < len(s.cells) && column >= 0 && column < len(s.cells[row]) {
		s.cells[row][column] = cell{sign: sign, sgr: sgr}
	}
}

func (s *sheet) write(column, row int, text, sgr string) {
	for i, r := range []rune(text) {
		s.put(column+i, row, r, sgr)
	}
}

// dotBits are the bits of a braille character's points, by row and column.
var dotBits = [4][2]uint8{{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}}

// dot sets a point, counted in points; the loudest colour of a character stays.
func (s *sheet) dot(x, y, line int, sgr string) {
	row, column := y/s.down, x/s.across
	if y < 0 || x < 0 || row >= len(s.cells) || column >= len(s.cells[row]) {
		return
	}
	at := &s.cells[row][column]
	if s.ASCII {
		at.sign = s.lines[line]
		if sgr == sgrBad {
			at.sign = s.bad
		}
	} else {
		at.sign = 0
		at.dots |= dotBits[y%s.down][x%s.across]
	}
	if at.sgr != sgrBad {
		at.sgr = sgr
	}
}

// String gives the grid, each line without the blanks at its end.
func (s *sheet) String() string {
	var all strings.Builder
	for _, row := range s.cells {
		var b strings.Builder
		sgr := ""
		for _, c := range row {
			if s.Color && c.sgr != sgr {
				if sgr != "" {
					b.WriteString("\x1b[0m")
				}
				if c.sgr != "" {
					b.WriteString("\x1b[" + c.sgr + "m")
				}
				sgr = c.sgr
			}
			switch {
			case c.sign != 0:
				b.WriteRune(c.sign)
			case c.dots != 0:
				b.WriteRune(rune(0x2800) + rune(c.dots))
			default:
				b.WriteByte(' ')
			}
		}
		text := b.String()
		if sgr != "" {
			text += "\x1b[0m"
		}
		all.WriteString(strings.TrimRight(text, " ") + "\n")
	}
	return all.String()
}

func (s *sheet) paint(text, sgr string) string {
	if !s.Color {
		return text
	}
	return "\x1b[" + sgr + "m" + text + "\x1b[0m"
}
