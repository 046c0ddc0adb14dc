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
	broken := errors.New("broken")
	_, err := Requested(t.Context(), func(context.Context, gatekeeper.AuditRecord) error { return nil }, by, time.Now(), func() (Report, error) { return Report{}, broken })
	require.ErrorIs(t, err, broken)
}
