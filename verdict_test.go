package gatekeeper

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

const slot = 15 * time.Second

func at(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }

func reading(seconds int, v Verdict, active ...string) Reading {
	if v == Unhealthy && len(active) == 0 {
		active = []string{"a"}
	}
	return Reading{At: at(seconds), Verdict: v, Active: active}
}

// story gives the track after a reading per slot, from noon on: u unhealthy, h healthy, t no
// traffic, d no data, l lopsided, e no answer.
func story(s string) Track {
	var t Track
	for i, c := range s {
		v := map[rune]Verdict{'u': Unhealthy, 'h': Healthy, 't': NoTraffic, 'd': NoData, 'l': Lopsided, 'e': NoAnswer}[c]
		t = t.Next(reading(i*15, v), slot)
	}
	return t
}

func TestVerdict(t *testing.T) {
	for v, want := range map[Verdict][2]bool{
		Unhealthy: {false, true}, Healthy: {false, true}, NoTraffic: {false, false},
		NoData: {true, false}, Lopsided: {true, false}, NoAnswer: {true, false},
	} {
		require.Equal(t, want, [2]bool{v.Blind(), v.Answered()}, v)
	}
}

func TestTrackPending(t *testing.T) {
	tests := map[string]struct {
		story string
		since int // seconds after noon; -1: not pending
		due   int // with for: 1m
	}{
		"never bad":                         {"hhhh", -1, 0},
		"bad at the first slot":             {"u", 0, 60},
		"bad from the third on":             {"hhuuu", 30, 90},
		"one good slot resets":              {"uuuhu", 60, 120},
		"good at the end":                   {"uuuh", -1, 0},
		"no data is neither":                {"uud", 0, 75},
		"an error is neither":               {"uue", 0, 75},
		"no traffic is neither":             {"uut", 0, 75},
		"lopsided is neither":               {"uul", 0, 75},
		"every unanswered slot postpones":   {"uedteu", 0, 120},
		"unanswered before it counts not":   {"eeu", 30, 90},
		"good after unanswered resets":      {"ueeh", -1, 0},
		"unanswered after good is not bad":  {"uheee", -1, 0},
		"unanswered of an earlier run gone": {"ueehu", 60, 120},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			track := story(test.story)
			track.For = Duration(time.Minute)
			if test.since < 0 {
				require.Zero(t, track.Pending())
				require.Zero(t, track.Due())
				require.False(t, track.Full(at(1e6)))
				return
			}
			require.Equal(t, at(test.since), track.Pending())
			require.Equal(t, at(test.due), track.Due())
			require.False(t, track.Full(at(test.due).Add(-1)))
			require.True(t, track.Full(at(test.due)))
		})
	}
}

func TestTrackWithoutForIsFullAtOnce(t *testing.T) {
	require.True(t, story("u").Full(at(0)))
}

func TestTrackIdentities(t *testing.T) {
	track := Track{For: Duration(time.Minute)}
	for i, active := range [][]string{{"b"}, {"a", "b"}, {"a", "c"}, {"c", "a"}} {
		track = track.Next(reading(i*15, Unhealthy, active...), slot)
	}
	require.Equal(t, []Active{{Identity: "a", ActiveAt: at(15)}, {Identity: "c", ActiveAt: at(30)}}, track.Active)
	require.Equal(t, at(15), track.Pending(), "b is gone, and its time with it")

	track = track.Next(reading(60, NoAnswer), slot).Next(reading(75, Unhealthy, "c", "d"), slot)
	require.Equal(t, []Active{
		{Identity: "c", ActiveAt: at(30), Unanswered: Duration(slot)}, {Identity: "d", ActiveAt: at(75)},
	}, track.Active)
	require.Equal(t, at(30+60+15), track.Due())
}

func TestTrackForgetsTheLatestIdentities(t *testing.T) {
	track := Track{}.Next(reading(0, Unhealthy, "first"), slot)
	many := []string{}
	for i := range 2 * MaxActive {
		many = append(many, fmt.Sprint(i))
	}
	track = track.Next(reading(15, Unhealthy, append(many, "first")...), slot)
	require.Len(t, track.Active, MaxActive)
	require.Equal(t, at(0), track.Pending())
}

func TestTrackIsAValue(t *testing.T) {
	before := story("uu")
	copied := before
	copied.Active = append([]Active(nil), before.Active...)
	for _, v := range []Verdict{Unhealthy, Healthy, NoAnswer} {
		before.Next(reading(30, v), slot)
	}
	before.Confirm(reading(30, Unhealthy))
	require.Equal(t, copied, before)
}

func TestTrackConfirm(t *testing.T) {
	track := Track{}.Next(reading(0, Unhealthy, "a"), slot).Next(reading(15, Unhealthy, "a", "b"), slot)
	confirmed := track.Confirm(reading(20, Unhealthy, "a", "b", "new"))
	require.Equal(t, track, confirmed, "it adds no identity and counts no slot")
	require.Equal(t, at(15), track.Confirm(reading(20, Unhealthy, "b")).Pending(), "what is not confirmed is not due")
	for _, v := range []Verdict{Healthy, NoTraffic, NoData, Lopsided, NoAnswer} {
		require.Equal(t, track, track.Confirm(reading(20, v)), "between slots nothing is reset")
	}
	require.False(t, track.Confirm(reading(20, Unhealthy, "new")).Full(at(20)), "another series is no confirmation")
	require.Equal(t, Track{}, Track{}.Confirm(reading(20, Unhealthy)))
}

func TestTrackCoverage(t *testing.T) {
	require.Zero(t, Track{}.Coverage())
	for text, want := range map[string]float64{"hhhh": 1, "uh": 1, "hted": 0.25, "lll": 0, "huuet": 0.6} {
		require.InDelta(t, want, story(text).Coverage(), 1e-9, text)
	}
}

func TestTrackBlindness(t *testing.T) {
	track := story("hhde")
	require.Equal(t, at(30), track.BlindSince)
	require.Equal(t, at(15), track.LastAnswered)
	require.Equal(t, at(45), track.LastSlot)
	require.Equal(t, NoAnswer, track.Verdict)
	require.Zero(t, story("hhdeh").BlindSince)
	require.Zero(t, story("hdt").BlindSince, "no traffic is an answer")
	require.Equal(t, at(60), story("ddhhd").BlindSince, "the present blindness only")
}

func TestTrackHealthy(t *testing.T) {
	require.Equal(t, at(15), story("uhhh").HealthySince)
	require.Zero(t, story("hhu").HealthySince)
	require.True(t, story("hu").EverHealthy)
	require.False(t, story("uedt").EverHealthy)
}

func TestTrackSurvivesTheJournal(t *testing.T) {
	want := story("uueduh")
	want = want.Next(reading(90, Unhealthy, "a", "b"), slot).Next(reading(105, NoAnswer), slot)
	data, err := json.Marshal(want)
	require.NoError(t, err)
	var got Track
	require.NoError(t, json.Unmarshal(data, &got))
	require.Equal(t, want, got)
}

// Whatever the readings, an outage never brings a decision nearer, and only answered bad slots,
// without a good one between them, fill a `for`.
func TestTrackNeverInventsBadTime(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const wait = time.Minute
	for range 2000 {
		track := Track{For: Duration(wait)}
		run, bad := false, time.Duration(0) // the present run of bad slots and its answered time
		for i := range 40 {
			v := []Verdict{Unhealthy, Unhealthy, Healthy, NoTraffic, NoData, Lopsided, NoAnswer}[random.IntN(7)]
			if v == Healthy {
				run, bad = false, 0
			}
			now := at(i * 15)
			track = track.Next(reading(i*15, v), slot)
			run = run || v == Unhealthy
			if v == Unhealthy {
				require.Equal(t, bad >= wait, track.Full(now), "slot %d", i)
				bad += slot
			} else {
				require.False(t, bad < wait && track.Full(now), "slot %d: full without an answer", i)
			}
			require.Equal(t, run, !track.Pending().IsZero())
		}
	}
}

// A reading that is not sure of the identities begins no `for` anew, and none twice.
func TestTrackUnsure(t *testing.T) {
	track := Track{}.Next(reading(0, Unhealthy, "a", "b"), slot)
	r := reading(15, Unhealthy, "b", "c", "c")
	r.Unsure = true
	track = track.Next(r, slot)
	require.Equal(t, at(0), track.Pending())
	require.Len(t, track.Active, 4)
	r.At = at(30)
	require.Equal(t, track.Active, track.Next(r, slot).Active)
	require.Equal(t, track.Active, track.Confirm(r).Active)
	require.Equal(t, at(15), track.Next(reading(45, Unhealthy, "c"), slot).Pending(), "the others are gone as soon as that is sure")
}
