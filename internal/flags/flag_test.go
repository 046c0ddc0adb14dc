package flags

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatekeeper-engine/gatekeeper"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func served(t *testing.T, f Flag) *definition {
	t.Helper()
	f.Key = "new-checkout"
	f, err := f.complete()
	require.NoError(t, err)
	return define(f)
}

func TestEvaluate(t *testing.T) {
	colours := map[string]any{"red": "#f00", "blue": "#00f"}
	for name, test := range map[string]struct {
		flag    Flag
		key     string
		value   any
		variant string
		reason  Reason
	}{
		"disabled":                 {Flag{Percentage: 100, Allow: []string{"ann"}}, "ann", false, "off", ReasonDisabled},
		"on for all":               {Flag{Enabled: true, Percentage: 100}, "", true, "on", ReasonStatic},
		"on for nobody":            {Flag{Enabled: true}, "ann", false, "off", ReasonStatic},
		"allowed":                  {Flag{Enabled: true, Allow: []string{"ann"}}, "ann", true, "on", ReasonTargeting},
		"not allowed":              {Flag{Enabled: true, Allow: []string{"ann"}}, "bob", false, "off", ReasonStatic},
		"allowed beside the split": {Flag{Enabled: true, Percentage: 0.0001, Allow: []string{"ann"}}, "ann", true, "on", ReasonTargeting},
		"split, out":               {Flag{Enabled: true, Percentage: 0.0001}, "ann", false, "off", ReasonSplit},
		"split, in":                {Flag{Enabled: true, Percentage: 99.9999}, "ann", true, "on", ReasonSplit},
		"text":                     {Flag{Enabled: true, Percentage: 100, Variants: colours, On: "blue", Off: "red"}, "", "#00f", "blue", ReasonStatic},
		"text, disabled":           {Flag{Variants: colours, On: "blue", Off: "red"}, "", "#f00", "red", ReasonDisabled},
	} {
		t.Run(name, func(t *testing.T) {
			e := served(t, test.flag).evaluate(Context{TargetingKey: test.key})
			require.Equal(t, Evaluation{Key: "new-checkout", Value: test.value, Variant: test.variant, Reason: test.reason}, e)
		})
	}
	e := served(t, Flag{Enabled: true, Percentage: 50}).evaluate(Context{})
	require.Equal(t, ErrorNoKey, e.Error)
	require.Nil(t, e.Value)
}

func TestSplitIsEvenStickyAndSalted(t *testing.T) {
	const keys = 20000
	both, a, b := 0, 0, 0
	for i := range keys {
		key := fmt.Sprint("user-", i)
		inA, inB := bucket("a", key) < 30, bucket("b", key) < 30
		require.Equal(t, bucket("a", key), bucket("a", key))
		if inA {
			a++
		}
		if inB {
			b++
		}
		if inA && inB {
			both++
		}
	}
	// Five standard deviations of a binomial distribution.
	near := func(n int, p float64) {
		t.Helper()
		require.InDelta(t, p*keys, n, 5*math.Sqrt(keys*p*(1-p)))
	}
	near(a, 0.3)
	near(b, 0.3)
	near(both, 0.09) // independent

	require.InDelta(t, 90.116053707, bucket("new-checkout", "user-1"), 1e-9, "another hash would move users about")
}

func TestGrowingPercentageOnlyAdds(t *testing.T) {
	for i := range 500 {
		was := false
		for p := 1.0; p < 100; p += 7 {
			d := served(t, Flag{Enabled: true, Percentage: p})
			on := d.evaluate(Context{TargetingKey: fmt.Sprint(i)}).Variant == "on"
			require.False(t, was && !on, "user %d lost the flag at %v%%", i, p)
			was = on
		}
	}
}

func TestValidate(t *testing.T) {
	many := make(map[string]any)
	for i := range MaxVariants + 1 {
		many[fmt.Sprint("v", i)] = true
	}
	for says, f := range map[string]Flag{
		"key has":               {Key: "a/b"},
		"1 to 128":              {Key: ""},
		"no variant":            {Key: "f", On: "maybe"},
		"percentage":            {Key: "f", Percentage: 100.5},
		"percentage NaN":        {Key: "f", Percentage: math.NaN()},
		"percentage -1":         {Key: "f", Percentage: -1},
		"partly":                {Key: "f", Variants: map[string]any{"on": true, "off": "no"}},
		"not supported yet":     {Key: "f", Variants: map[string]any{"on": 1.5, "off": 2.0}},
		"too many":              {Key: "f", Variants: many},
		"too long":              {Key: "f", Variants: map[string]any{"on": strings.Repeat("x", MaxValue+1), "off": ""}},
		"a name has":            {Key: "f", Variants: map[string]any{"on": true, "off": false, "\n": true}},
		"allow-list of":         {Key: "f", Allow: make([]string, MaxAllow+1)},
		"on the allow-list has": {Key: "f", Allow: []string{strings.Repeat("x", MaxKey+1)}},
		"description of":        {Key: "f", Description: strings.Repeat("x", MaxValue+1)},
	} {
		_, err := f.complete()
		require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err), says)
		require.ErrorContains(t, err, strings.Fields(says)[0])
	}
}

func BenchmarkEvaluate(b *testing.B) {
	flags := make(map[string]*definition)
	for i := range 1000 {
		f, err := Flag{Key: fmt.Sprint("flag-", i), Enabled: true, Percentage: 50}.complete()
		require.NoError(b, err)
		flags[f.Key] = define(f)
	}
	s := &Store{}
	s.flags.Store(&flags)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s.Evaluate("flag-500", Context{TargetingKey: "user-12345678"})
		}
	})
}
