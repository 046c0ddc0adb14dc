package rehearsal

import (
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Alert is an alert of somebody else, as Prometheus or Alertmanager sends it: firing from From on, and
// again every minute until To, which ends it. Two of them with the same labels are two senders.
type Alert struct {
	Span
	Sender string            // "prometheus" or "alertmanager"
	Labels map[string]string // with alertname, and the service that it is about
	Lasts  time.Duration     // how long each message is good for
	Dies   bool              // at To its sender falls silent, instead of saying that it is over
}

const resend = time.Minute // as Prometheus does

// alerts are the messages of the script's senders.
func (p *play) alerts() (all []event, err error) {
	for _, a := range p.script.Alerts {
		if a.To <= a.From || a.Lasts <= 0 {
			return nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, "Give a from and a later to.", "an alert can't fire from %s to %s", a.From, a.To)
		}
		for at := a.From; at < a.To; at += resend {
			all = append(all, event{at: at, rank: rankOpen, beside: true, do: func() error { return p.send(a, at, true) }})
		}
		if !a.Dies {
			all = append(all, event{at: a.To, rank: rankOpen, beside: true, do: func() error { return p.send(a, a.To, false) }})
		}
		if len(all) > maxEvents {
			break // which the caller tells of
		}
	}
	return all, nil
}

// send lets a sender say that its alert fires, or that it is over. What Gatekeeper can't take now comes
// again with the next message, as with real senders.
func (p *play) send(a Alert, at time.Duration, firing bool) error {
	now, name := p.script.Start.Add(at), a.Labels[gatekeeper.AlertNameLabel]
	one := gatekeeper.Alert{
		Key: gatekeeper.AlertKey(name, a.Labels), Name: name, Labels: a.Labels, Sender: a.Sender,
		Firing: firing, StartsAt: p.script.Start.Add(a.From), EndsAt: now.Add(a.Lasts), SeenAt: now,
	}
	if !firing {
		one.EndsAt = now
	}
	_, err := p.now().Receive(p.ctx, a.Sender, a.Sender, []gatekeeper.Alert{one})
	return err
}
