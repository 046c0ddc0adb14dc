package alertmanager

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/notify"
)

type album struct{}

func (album) Address(of notify.Moment, _ time.Time) string {
	return fmt.Sprintf("https://gatekeeper.example/%s?seq=%d", of.Rule, of.Seq)
}

func (album) Draw(context.Context, notify.Moment) ([]byte, error) { return nil, nil }

// An alert links to the picture of its news; later facts, which bring none, don't have it sent again.
func TestAlertsLinkToThePicture(t *testing.T) {
	b := book{alerts: map[id]*alert{}, channel: notify.Channel{Pictures: album{}}}
	now := time.Now()
	held := func(says string) gatekeeper.Held {
		return gatekeeper.Held{Reason: gatekeeper.HoldRoute, Breaches: []gatekeeper.Breach{{Rule: "R"}}, Says: says, Until: now.Add(time.Hour)}
	}
	r := gatekeeper.Release{ID: "r1"}
	picture := func(body gatekeeper.Body) (string, int64) {
		f := gatekeeper.Fact{Seq: r.Seq + 1, At: now, Body: body}
		var err error
		r, err = r.With(f)
		require.NoError(t, err)
		b.update(now, r, f)
		for _, a := range b.alerts {
			return a.annotations["picture"], a.version
		}
		return "", 0
	}
	picture(gatekeeper.Opened{Service: "s", Version: "1"})
	picture(gatekeeper.Prepared{})
	picture(gatekeeper.Deployed{})
	first, version := picture(held("bad"))
	require.Equal(t, "https://gatekeeper.example/R?seq=4", first)
	same, sameVersion := picture(gatekeeper.Noted{Text: "no news"})
	require.Equal(t, first, same)
	require.Equal(t, version, sameVersion)
	next, _ := picture(held("worse"))
	require.Equal(t, "https://gatekeeper.example/R?seq=6", next)
}
