package slack

import (
	"slices"
	"strings"

	"github.com/gatekeeper-engine/gatekeeper/internal/notify"
)

// Limits of Block Kit (https://docs.slack.dev/reference/block-kit/blocks), in characters; bytes
// are counted here, which never allows more.
const (
	maxHeader = 150
	maxText   = 2900 // of a section's 3000
	maxField  = 1900 // of a field's 2000
)

// message is the body for an incoming webhook and for chat.postMessage.
type message struct {
	Channel     string  `json:"channel,omitempty"`
	Thread      string  `json:"thread_ts,omitempty"`
	Broadcast   bool    `json:"reply_broadcast,omitempty"`
	Text        string  `json:"text"` // for notifications, and where blocks can't be shown
	Blocks      []block `json:"blocks"`
	UnfurlLinks bool    `json:"unfurl_links"`
	UnfurlMedia bool    `json:"unfurl_media"`
}

type block struct {
	Type     string `json:"type"`
	Text     *text  `json:"text,omitempty"`
	Elements []text `json:"elements,omitempty"`
	ImageURL string `json:"image_url,omitempty"` // fetched by Slack when the message comes
	AltText  string `json:"alt_text,omitempty"`
}

type text struct {
	Type     string `json:"type"`
	Text     string `json:"text"`
	Verbatim bool   `json:"verbatim,omitempty"` // nothing in it becomes a link or a mention by itself
}

var signs = map[notify.Severity]string{notify.Critical: "🔴", notify.Warning: "🟠", notify.Info: "🟢"}

// render makes the message; all that comes from outside is escaped.
func render(m notify.Message) message {
	title := signs[m.News.Severity] + " " + m.News.Title(m.Release)
	out := message{
		Text: escape(title+": "+m.News.Summary, maxText),
		Blocks: []block{
			{Type: "header", Text: &text{Type: "plain_text", Text: notify.Clip(oneLine(title), maxHeader)}},
		},
	}
	for _, part := range []struct{ label, says string }{
		{"Seen", m.News.Summary}, {"Done", m.News.Done}, {"To do", m.News.Todo},
	} {
		if part.says != "" {
			out.Blocks = append(out.Blocks, block{Type: "section", Text: markdown("*" + part.label + ":* " + escape(part.says, maxField))})
		}
	}
	where := "Release " + escape(m.Release.ID, maxField)
	if m.Link != "" {
		where = "<" + escape(m.Link, maxField) + "|" + where + ">"
	}
	out.Blocks = append(out.Blocks, block{Type: "context", Elements: []text{*markdown(where)}})
	return out
}

// withPicture gives the message with a picture that Slack fetches.
func (m message) withPicture(p *notify.Picture) message {
	last := len(m.Blocks) - 1
	m.Blocks = slices.Insert(slices.Clone(m.Blocks), last, block{Type: "image", ImageURL: p.URL, AltText: notify.Clip(p.Says, maxField)})
	return m
}

func markdown(s string) *text { return &text{Type: "mrkdwn", Text: s, Verbatim: true} }

var escapes = map[rune]string{'&': "&amp;", '<': "&lt;", '>': "&gt;"}

// escape makes text that shows as it is, of at most limit bytes
// (https://docs.slack.dev/messaging/formatting-message-text, "Escaping text").
func escape(s string, limit int) string {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		part := escapes[r]
		if part == "" {
			part = string(r)
		}
		if b.Len()+len(part) > limit-len("…") {
			b.WriteString("…")
			break
		}
		b.WriteString(part)
	}
	return b.String()
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
