package gatekeeper

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// By says who asks for a change, by what means they are known, and why.
type By struct {
	Actor string `json:"actor,omitempty"` // empty: Gatekeeper itself, or nobody knows
	Means Means  `json:"means,omitempty"`
	Why   string `json:"why,omitempty"`
}

// Name names the actor in a sentence.
func (b By) Name() string {
	if b.Actor == "" {
		return "somebody"
	}
	return b.Actor
}

// Concerns says whether actor stands behind the change: as a whole, or as one of the two names in
// "ci (alice)", the client and the person that it acted for.
func (b By) Concerns(actor string) bool {
	client, person, both := strings.Cut(strings.TrimSuffix(b.Actor, ")"), " (")
	return b.Actor == actor || both && (client == actor || person == actor)
}

// Means is how Gatekeeper knows who asks for a change.
type Means string

// The means.
const (
	MeansToken       Means = "token"       // a token of the configuration, which the actor begins with
	MeansSession     Means = "session"     // a browser's session, begun with that token
	MeansCertificate Means = "certificate" // of the client
	MeansPassword    Means = "password"    // basic auth
	MeansLocal       Means = "local"       // a program on this machine; the actor is what it says
	MeansSignal      Means = "signal"      // sent to the daemon's process
	MeansFile        Means = "file"        // a file on the daemon's machine was found changed
	MeansRollback    Means = "rollback"    // a release's rollback plan; the release's journal says which
)

// Deed is what an audit record tells of.
type Deed string

// The deeds. Their subjects are the flag's key, the configuration's file, and which releases.
const (
	FlagSet       Deed = "flag.set"
	FlagDeleted   Deed = "flag.deleted"
	Reloaded      Deed = "config.reloaded"
	KillSwitchOn  Deed = "kill_switch.on"
	KillSwitchOff Deed = "kill_switch.off"
	StorePruned   Deed = "store.pruned" // at somebody's request; not by the configuration's age
)

// The ends of a deed.
const (
	Accepted = "accepted" // it is done, or is done at once after the record
	Refused  = "refused"  // nothing was changed; see [AuditRecord.Refusal]
)

// Bounds of an audit record and of its listing.
const (
	MaxAuditState = 8 << 10 // bytes of Before and of After; what is larger is told by its size and hash
	MaxAuditPage  = 200     // records of one listing
	maxAuditText  = 1000    // characters of each text; what is longer is cut
)

// AuditRecord is one change, made or refused, that concerns more than one release. What concerns
// one release is a [Fact] of it. Records are only ever appended; they hold no secrets.
type AuditRecord struct {
	Seq     int64           `json:"seq"` // position among the audit records, from 1
	At      time.Time       `json:"at"`  // wall clock, UTC
	By                      // who, by what means, and why
	What    Deed            `json:"what"`
	Subject string          `json:"subject"`
	Before  json.RawMessage `json:"before,omitempty"` // the subject before and after; none: it was, or is, not there
	After   json.RawMessage `json:"after,omitempty"`
	Outcome string          `json:"outcome"` // [Accepted] or [Refused]
	Refusal string          `json:"refusal,omitempty"`
}

// Refuse gives the record of the deed that was refused because of err.
func (r AuditRecord) Refuse(err error) AuditRecord {
	r.Outcome, r.Refusal = Refused, err.Error()
	return r
}

// AuditState gives v as a record's Before or After: as JSON, or by its size and hash where that is
// larger than [MaxAuditState].
func AuditState(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		data = fmt.Appendf(nil, "%q", err.Error())
	}
	if len(data) > MaxAuditState {
		sum := sha256.Sum256(data)
		data = fmt.Appendf(nil, `{"bytes":%d,"sha256":%q}`, len(data), hex.EncodeToString(sum[:]))
	}
	return data
}

// Encoded gives the record as journals keep it, with long texts cut. It refuses, with
// [CodeInvalid], a record that does not say what was done or how it ended, or whose states are
// larger than what [AuditState] gives.
func (r AuditRecord) Encoded() ([]byte, error) {
	refused := r.Outcome == Refused
	switch {
	case r.What == "" || r.At.IsZero() || !refused && r.Outcome != Accepted || refused != (r.Refusal != ""):
		return nil, Errorf(CodeInvalid, "", "an audit record needs an instant, a deed and an outcome; this one has %s, %q, %q, refusal %q", r.At, r.What, r.Outcome, r.Refusal)
	case len(r.Before) > MaxAuditState || len(r.After) > MaxAuditState:
		return nil, Errorf(CodeInvalid, "", "the audit record of %s holds a state of more than %d bytes", r.What, MaxAuditState)
	}
	r.At = r.At.UTC().Round(0)
	for _, text := range []*string{&r.Actor, &r.Why, &r.Subject, &r.Refusal} {
		*text = cut(*text)
	}
	return json.Marshal(r)
}

func cut(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if runes := []rune(text); len(runes) > maxAuditText {
		return string(runes[:maxAuditText-1]) + "…"
	}
	return text
}

// DecodeAudit gives back a record; seq is the position it must have. An unknown field, as a newer
// Gatekeeper may write it, is an error: a record that is half read says something else.
func DecodeAudit(data []byte, seq int64) (AuditRecord, error) {
	var r AuditRecord
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return AuditRecord{}, err
	}
	if r.Seq != seq {
		return AuditRecord{}, fmt.Errorf("audit record %d stands where record %d belongs", r.Seq, seq)
	}
	return r, nil
}

// turned says whether the record tells of a turn of the kill switch that was made.
func (r AuditRecord) turned() bool {
	return (r.What == KillSwitchOn || r.What == KillSwitchOff) && r.Outcome == Accepted
}

// LastTurn gives the record of the kill switch's last turn; nil: there is none in so many pages of the
// newest records. One that was recorded late stands behind turns that came after it.
func LastTurn(ctx context.Context, j Journal, pages int) (*AuditRecord, error) {
	var last *AuditRecord
	before := int64(0)
	for range pages {
		page, err := j.Audits(ctx, before, MaxAuditPage)
		if err != nil {
			return nil, err
		}
		found := last != nil // a page ago: what is late stands within one
		for _, r := range page {
			if r.turned() && (last == nil || r.At.After(last.At)) {
				last = &r
			}
			before = r.Seq
		}
		if found || len(page) < MaxAuditPage {
			break
		}
	}
	return last, nil
}

// CheckAuditPage refuses, with [CodeInvalid], what [Journal.Audits] can't be asked for.
func CheckAuditPage(before int64, limit int) error {
	if before < 0 || limit < 1 || limit > MaxAuditPage {
		return Errorf(CodeInvalid, "", "audit records are listed from 1 to %d at once, before a position; not %d before %d", MaxAuditPage, limit, before)
	}
	return nil
}
