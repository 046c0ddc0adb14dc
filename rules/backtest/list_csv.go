package backtest

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strings"
)

// parseCSV reads a list whose first line names the columns.
func parseCSV(name string, data []byte) ([]Release, error) {
	in := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff"))))
	in.ReuseRecord = true
	head, err := csvHead(name, in)
	if err != nil {
		return nil, err
	}
	var list []Release
	ids := map[string]bool{}
	for {
		cells, err := in.Read()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, brokenCSV(name, err)
		}
		var r Release
		for i, text := range cells {
			if err := r.set(cell(name, in, i), head[i], strings.TrimSpace(text)); err != nil {
				return nil, err
			}
		}
		at := cell(name, in, 0)
		if len(list) == maxReleases {
			return nil, at.errorf("split the list", "there are more than %d releases", maxReleases)
		}
		if err := r.check(at); err != nil {
			return nil, err
		}
		if err := unique(at, ids, r); err != nil {
			return nil, err
		}
		list = append(list, r)
	}
}

func csvHead(name string, in *csv.Reader) ([]string, error) {
	cells, err := in.Read()
	if err != nil {
		if errors.Is(err, io.EOF) {
			return nil, place{name, 1, 1}.errorf("the first line names the columns: version,deployed,outcome", "the list is empty")
		}
		return nil, brokenCSV(name, err)
	}
	head := slices.Clone(cells)
	for i := range head {
		head[i] = strings.TrimSpace(head[i])
		at := cell(name, in, i)
		if err := known(at, head[i]); err != nil {
			return nil, err
		}
		if slices.Contains(head[:i], head[i]) {
			return nil, at.errorf("", "column %s stands twice", head[i])
		}
	}
	for _, column := range columns {
		if must, ok := strings.CutSuffix(column, "*"); ok && !slices.Contains(head, must) {
			return nil, place{name, 1, 1}.errorf("the first line names the columns: version,deployed,outcome", "there is no column %s", must)
		}
	}
	return head, nil
}

func cell(name string, in *csv.Reader, i int) place {
	line, column := in.FieldPos(i)
	return place{name, line, column}
}

func brokenCSV(name string, err error) error {
	if broken, ok := errors.AsType[*csv.ParseError](err); ok {
		hint := ""
		if errors.Is(err, csv.ErrFieldCount) {
			hint = "each line has as many values as the first has columns"
		}
		return place{name, broken.Line, max(broken.Column, 1)}.errorf(hint, "%v", broken.Err)
	}
	return err
}
