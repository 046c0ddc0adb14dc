package rules

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

const examples = "../examples/rules"

func TestExamples(t *testing.T) {
	for _, name := range []string{"checkout.yml", "canary.yml", "flag.yml", "recorded.yml", "shop.rules.yml"} {
		t.Run(name, func(t *testing.T) {
			b, err := ReadBundle(filepath.Join(examples, name))
			require.NoError(t, err)
			f, err := Load(b)
			require.NoError(t, err)
			_, err = f.Bind(Vars{Service: "shop", Version: "2", PreviousVersion: "1"})
			require.NoError(t, err)
			for _, r := range f.Rules {
				require.Equal(t, r.Alert != "FewOrders" || r.VersionBound, r.VersionBound)
			}
		})
	}
}

func TestExamplesArePrometheusRuleFiles(t *testing.T) {
	for _, name := range []string{"alerts/release.yml", "shop.rules.yml", "published.yml"} {
		text, err := os.ReadFile(filepath.Join(examples, name))
		require.NoError(t, err)
		_, errs := rulefmt.Parse(text, false, model.UTF8Validation, promexpr.Parser, slog.New(slog.DiscardHandler))
		require.Empty(t, errs)
	}
}

func TestPublishedFile(t *testing.T) {
	b, err := ReadBundle(filepath.Join(examples, "published.yml"))
	require.NoError(t, err)
	f, err := Load(b)
	require.NoError(t, err)
	require.Equal(t, Response{Do: Rollback, NoData: Hold, OnError: Hold, Blind: DefaultBlind}, f.Rules[0].Response)
	require.Equal(t, []string{"HighErrorRate → rollback; blind for 2m: hold"}, f.Responses())
}
