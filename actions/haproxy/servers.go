package haproxy

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Bits and values of `show servers state` (HAProxy Management Guide, 9.3).
const (
	forcedMaint  = 0x01 // srv_admin_state
	forcedDrain  = 0x08
	opStarting   = 1 // srv_op_state
	opRunning    = 2
	checkEnabled = 0x04 // srv_check_state
	checkPassed  = 3    // srv_check_result; above it passed with a condition
)

// live is a server as HAProxy has it.
type live struct {
	Weight int
	State  state
	up     bool // it would take traffic: running and, where it is checked, the check passed
}

// servers reads the backend's servers by name.
func (r runtime) servers(ctx context.Context, backend string) (map[string]live, error) {
	answer, err := r.ask(ctx, "show servers state "+backend)
	if err != nil {
		return nil, err
	}
	all, err := parseServers(answer, backend)
	if err != nil {
		return nil, fmt.Errorf("backend %s: %w", backend, err)
	}
	return all, nil
}

// parseServers reads `show servers state`: a version, a header that begins with "# ", and a line
// of words for each server.
func parseServers(answer, backend string) (map[string]live, error) {
	var columns map[string]int
	all := map[string]live{}
	for line := range strings.Lines(answer) {
		if head, ok := strings.CutPrefix(line, "# "); ok {
			columns = index(strings.Fields(head))
			for _, need := range []string{"be_name", "srv_name", "srv_op_state", "srv_admin_state", "srv_uweight", "srv_check_result", "srv_check_state"} {
				if _, ok := columns[need]; !ok {
					return nil, fmt.Errorf("`show servers state` has no column %s: is this HAProxy 1.8 or later?", need)
				}
			}
			continue
		}
		words := strings.Fields(line)
		if columns == nil || len(words) < len(columns) {
			continue
		}
		if words[columns["be_name"]] != backend {
			continue
		}
		one, err := parseServer(words, columns)
		if err != nil {
			return nil, err
		}
		all[words[columns["srv_name"]]] = one
	}
	if columns == nil {
		return nil, fmt.Errorf("HAProxy says: %s", firstLine(answer))
	}
	if len(all) == 0 {
		return nil, errors.New("HAProxy knows no servers in it")
	}
	return all, nil
}

func parseServer(words []string, columns map[string]int) (live, error) {
	var err error
	number := func(column string) int {
		n, e := strconv.Atoi(words[columns[column]])
		if e != nil {
			err = fmt.Errorf("`show servers state` says %s=%q", column, words[columns[column]])
		}
		return n
	}
	one := live{Weight: number("srv_uweight"), State: ready}
	switch admin := number("srv_admin_state"); {
	case admin&forcedMaint != 0:
		one.State = maint
	case admin&forcedDrain != 0:
		one.State = drain
	}
	op := number("srv_op_state")
	checked := number("srv_check_state")&checkEnabled != 0
	one.up = (op == opStarting || op == opRunning) && (!checked || number("srv_check_result") >= checkPassed)
	return one, err
}

// sessions reads how many requests run on each of the backend's servers (`show stat`, scur).
func (r runtime) sessions(ctx context.Context, backend string) (map[string]int, error) {
	// 4 is servers. All of them are asked for, because by name HAProxy would find a frontend of
	// the same name first.
	answer, err := r.ask(ctx, "show stat -1 4 -1")
	if err != nil {
		return nil, err
	}
	return parseSessions(answer, backend)
}

func parseSessions(answer, backend string) (map[string]int, error) {
	lines := csv.NewReader(strings.NewReader(strings.TrimPrefix(answer, "# ")))
	lines.FieldsPerRecord = -1
	records, err := lines.ReadAll()
	if err != nil || len(records) == 0 {
		return nil, fmt.Errorf("`show stat` of backend %s can't be read: %s", backend, firstLine(answer))
	}
	columns := index(records[0])
	px, sv, cur := columns["pxname"], columns["svname"], columns["scur"]
	if sv == 0 || cur == 0 {
		return nil, fmt.Errorf("`show stat` of backend %s says: %s", backend, firstLine(answer))
	}
	all := map[string]int{}
	for _, words := range records[1:] {
		if len(words) <= max(px, sv, cur) || words[px] != backend {
			continue
		}
		n, err := strconv.Atoi(words[cur])
		if err != nil {
			return nil, fmt.Errorf("`show stat` says scur=%q for server %s", words[cur], words[sv])
		}
		all[words[sv]] = n
	}
	return all, nil
}

func index(columns []string) map[string]int {
	at := make(map[string]int, len(columns))
	for i, c := range columns {
		at[c] = i
	}
	return at
}
