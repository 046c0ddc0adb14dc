package main

import (
	"strconv"
	"time"

	"github.com/prometheus/common/model"
	"github.com/spf13/cobra"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/api"
	"github.com/gatekeeper-engine/gatekeeper/internal/client"
)

func auditCommand() *cobra.Command {
	var out format
	var q api.AuditQuery
	var since, until string
	cmd := &cobra.Command{
		Use: "audit", Short: "List who changed flags, the configuration or the kill switch, or pruned the store, newest first",
		Long: `Audit lists what was changed that concerns more than one release: flags, reloads of the configuration,
the kill switch and pruning of the store; by whom and by what means, and what was refused. It takes the
scope operate. What was done to one release is in its timeline: gatekeeper release show.`,
		Args: cobra.NoArgs,
	}
	out.flags(cmd.Flags())
	cmd.Flags().StringVar(&since, "since", "", "only what was done then or later: a time such as 2026-03-01T12:00:00Z, or how long ago, such as 7d")
	cmd.Flags().StringVar(&until, "until", "", "only what was done before then; written like --since")
	cmd.Flags().StringVar(&q.Actor, "actor", "", "only what this actor did; of \"ci (alice)\" each name does")
	cmd.Flags().IntVar(&q.Limit, "limit", 20, "at most so many, up to 200")
	cmd.Flags().Int64Var(&q.After, "after", 0, "the position after which to go on, towards older records")
	return remote(cmd, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		var err error
		now := time.Now()
		if q.Since, err = instant("--since", since, now); err != nil {
			return err
		}
		if q.Until, err = instant("--until", until, now); err != nil {
			return err
		}
		page, err := auditPage(cmd, c, q)
		if err != nil {
			return err
		}
		if done, err := out.machine(cmd.OutOrStdout(), page); done {
			return err
		}
		if err := table(cmd.OutOrStdout(), auditRows(page.Records, out == asWide)); err != nil {
			return err
		}
		if page.Next != 0 {
			say(cmd, "there are more: --after %d", page.Next)
		}
		return nil
	})
}

// instant reads a time, or how long ago it was; "" is the zero time.
func instant(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	ago, err := model.ParseDuration(text)
	if err != nil {
		return time.Time{}, usagef("%s %q is neither a time, such as 2026-03-01T12:00:00Z, nor how long ago, such as 7d", flag, text)
	}
	return now.Add(-time.Duration(ago)), nil
}

// auditPage asks until the page is full: the daemon looks through so many records at once.
func auditPage(cmd *cobra.Command, c *client.Client, q api.AuditQuery) (api.AuditList, error) {
	page, err := c.Audit(cmd.Context(), q)
	for err == nil && page.Next != 0 && len(page.Records) < q.Limit {
		more := q
		more.After, more.Limit = page.Next, q.Limit-len(page.Records)
		var next api.AuditList
		next, err = c.Audit(cmd.Context(), more)
		page.Records, page.Next = append(page.Records, next.Records...), next.Next
	}
	return page, err
}

func auditRows(records []gatekeeper.AuditRecord, wide bool) [][]string {
	rows := [][]string{{"AT", "ACTOR", "MEANS", "WHAT", "SUBJECT", "OUTCOME", "WHY"}}
	if wide {
		rows = [][]string{{"SEQ", "AT", "ACTOR", "MEANS", "WHAT", "SUBJECT", "OUTCOME", "WHY", "BEFORE", "AFTER"}}
	}
	for _, r := range records {
		why := r.Why
		if r.Refusal != "" {
			why = r.Refusal
		}
		row := []string{r.At.Local().Format(time.RFC3339), r.Actor, string(r.Means), string(r.What), r.Subject, r.Outcome, why}
		if wide {
			row = append(append([]string{strconv.FormatInt(r.Seq, 10)}, row...), string(r.Before), string(r.After))
		}
		rows = append(rows, row)
	}
	return rows
}
