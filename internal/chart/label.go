package chart

import "time"

// label is the text of a mark: where it stands and in which row.
type label struct {
	Mark
	text   string
	x      float64 // of the mark
	from   float64 // of the text
	row    int
	hidden bool
}

const maxLabelRows = 6

// layout is how much room labels have, in any unit.
type layout struct {
	x          func(time.Time) float64
	width      func(label) float64
	begin, end float64
	beside     float64 // from a mark to its text
	apart      float64 // from one text to the next
}

// labels lays out the texts of marks: each right of its mark, or left of it near the end, in the
// row of the one before, or in the next where it would run into that.
func (c Chart) labels(room layout) (all []label, rows int) {
	for i, m := range c.Marks {
		if n := len(all); i > 0 && c.clock(m.At) == c.clock(c.Marks[i-1].At) && all[n-1].Loud == m.Loud {
			all[n-1].text = c.Marks[i-1].Label + ", " + m.Label + " " + c.clock(m.At)
			continue
		}
		all = append(all, label{Mark: m, text: m.Label + " " + c.clock(m.At), x: room.x(m.At)})
	}
	ends := make([]float64, maxLabelRows)
	for i := range all {
		l := &all[i]
		wide := room.width(*l)
		if l.from = l.x + room.beside; l.from+wide > room.end {
			l.from = max(room.begin, l.x-room.beside-wide)
		}
		if i > 0 {
			l.row = all[i-1].row
			if l.from < ends[l.row]+room.apart {
				l.row++
			}
		}
		if l.row >= maxLabelRows {
			l.hidden, l.row = true, maxLabelRows-1
			continue
		}
		ends[l.row] = l.from + wide
		rows = max(rows, l.row+1)
	}
	return all, rows
}
