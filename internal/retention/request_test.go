package retention

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Who asks for a pruning is recorded before it; where there is no room for that, behind it.
func TestRequested(t *testing.T) {
	by := gatekeeper.By{Actor: "ann", Means: gatekeeper.MeansToken}
	full := gatekeeper.Errorf(gatekeeper.CodeUnavailable, "make room", "the disk is full")
	for name, test := range map[string]struct {
		record []error // what becomes of each record
		steps  []string
		err    error
	}{
		"room":         {[]error{nil}, []string{"record", "prune"}, nil},
		"made by it":   {[]error{full, nil}, []string{"record", "prune", "record"}, nil},
		"none at all":  {[]error{full, full}, []string{"record", "prune", "record"}, full},
		"another owns": {[]error{gatekeeper.ErrFenced}, []string{"record"}, gatekeeper.ErrFenced},
	} {
		t.Run(name, func(t *testing.T) {
			var steps []string
			record := func(_ context.Context, r gatekeeper.AuditRecord) error {
				require.Equal(t, by, r.By)
				require.Equal(t, gatekeeper.StorePruned, r.What)
				_, err := r.Encoded()
				require.NoError(t, err)
				steps = append(steps, "record")
				err, test.record = test.record[0], test.record[1:]
				return err
			}
			report, err := Requested(t.Context(), record, by, time.Now(), func() (Report, error) {
				steps = append(steps, "prune")
				return Report{Kept: 3}, nil
			})
			require.Equal(t, test.steps, steps)
			if test.err == nil {
				require.NoError(t, err)
				require.Equal(t, 3, report.Kept)
				return
			}
			require.ErrorIs(t, err, test.err)
		})
	}
}

// What was recorded as accepted, and then removed nothing, is recorded as refused.
func TestRequestedInVain(t *testing.T) {
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		report   Report
		outcomes []string
	}{
		"nothing": {Report{}, []string{gatekeeper.Accepted, gatekeeper.Refused}},
		"some":    {Report{Releases: []Removed{{ID: "r1"}}}, []string{gatekeeper.Accepted}},
	} {
		t.Run(name, func(t *testing.T) {
			var outcomes []string
			record := func(_ context.Context, r gatekeeper.AuditRecord) error {
				_, err := r.Encoded()
				outcomes = append(outcomes, r.Outcome)
				return err
			}
			_, err := Requested(t.Context(), record, gatekeeper.By{Actor: "ann"}, time.Now(), func() (Report, error) { return test.report, broken })
			require.ErrorIs(t, err, broken)
			require.Equal(t, test.outcomes, outcomes)
		})
	}
}
