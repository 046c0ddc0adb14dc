package prometheus

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// However an array of points is written, it means what the JSON package makes of it.
func TestPointsHoweverTheyAreWritten(t *testing.T) {
	for text, plain := range map[string]bool{
		`[[1736468400,"0.1"]]`:                       true,
		`[[1736468400.123,"0.1"],[1736468401,"-2"]]`: true,
		`[[1.7e9,"+Inf"],[-3,"1e3"],[0,"NaN"]]`:      true,
		`[]`:                                         false,
		`null`:                                       false,
		`[null]`:                                     false,
		`[ [1736468400 , "0.1"] , [1736468401,"1"] ]`: false,
		`[[1736468400,"0.1"], [1736468401,"1"]]`:      false,
		"[[1736468400,\"0.1\"]\n]":                    false,
		`[[1736468400,"\u0031"]]`:                     false,
		`[[1736468400,"0.1","0.2"]]`:                  false,
		`[[1736468400,"0.1",["0.2"]]]`:                false,
		`[[1736468400,"0.1"],7]`:                      false,
		`[[1736468400]]`:                              false,
		`[["1736468400","0.1"]]`:                      false,
		`[[null,"0.1"]]`:                              false,
		`[[1736468400,0.1]]`:                          false,
		`[[1736468400,"a lot"]]`:                      false,
		`[[1736468400,""]]`:                           false,
		`[[1e13,"1"]]`:                                false,
		`[[1e999,"1"]]`:                               false,
		`[[1,"1e999"]]`:                               false,
		`[[[1,"1"]]]`:                                 false,
		`[{"a":[1,"1"]}]`:                             false,
		`{"a":1}`:                                     false,
		`"[[1,2]]"`:                                   false,
	} {
		require.True(t, json.Valid([]byte(text)), text)
		var got points
		var want []point
		err, wrong := json.Unmarshal([]byte(text), &got), json.Unmarshal([]byte(text), &want)
		if wrong != nil {
			require.EqualError(t, err, wrong.Error(), text)
		} else {
			require.NoError(t, err, text)
			require.Equal(t, bits(want), bits(got), text)
		}
		_, ok := plainPoints([]byte(text))
		require.Equal(t, plain, ok, text)
	}
}

// bits makes NaN equal to itself.
func bits(ps []point) (all [][2]uint64) {
	for _, p := range ps {
		all = append(all, [2]uint64{uint64(p.ms), math.Float64bits(float64(p.value))})
	}
	return all
}

func FuzzPoints(f *testing.F) {
	f.Add(`[[1736468400.123,"0.1"],[1736468401,"-2"]]`)
	f.Add(`[[1,"\u0031"], [2,"NaN"]]`)
	f.Fuzz(func(t *testing.T, text string) {
		var got points
		var want []point
		err, wrong := json.Unmarshal([]byte(text), &got), json.Unmarshal([]byte(text), &want)
		require.Equal(t, wrong == nil, err == nil, "%q: %v, %v", text, wrong, err)
		if err == nil {
			require.Equal(t, bits(want), bits(got), "%q", text)
		}
	})
}
