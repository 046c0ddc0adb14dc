package alertmanager

import (
	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/notify"
)

// The alerts that Gatekeeper sends, by their label alertname.
const (
	Held            = "GatekeeperReleaseHeld"
	RollbackStarted = "GatekeeperRollbackStarted"
	RolledBack      = "GatekeeperRolledBack"
	RollbackFailed  = "GatekeeperRollbackFailed"
	Breached        = "GatekeeperReleaseBreached"
	Inconclusive    = "GatekeeperReleaseInconclusive"
)

// names gives the alert for each kind of news that can stand. An unknown recovery is the alert of
// a rollback with another severity.
var names = map[notify.Event]string{
	notify.Held:            Held,
	notify.RollbackStarted: RollbackStarted,
	notify.RolledBack:      RolledBack,
	notify.RecoveryUnknown: RolledBack,
	notify.RollbackFailed:  RollbackFailed,
	notify.Breached:        Breached,
	notify.Inconclusive:    Inconclusive,
}

// severity is the label by which Alertmanager's routes page or only tell.
type severity = notify.Severity

const (
	critical = notify.Critical
	warning  = notify.Warning
)

// standing is an alert that should stand for a release.
type standing struct {
	name string
	notify.News
}

// standings gives the alerts that stand for r after f.
func standings(r gatekeeper.Release, f gatekeeper.Fact) []standing {
	var all []standing
	for _, n := range notify.Standing(r, f) {
		all = append(all, standing{names[n.Event], n})
	}
	return all
}
