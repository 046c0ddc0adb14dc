package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Snapshot writes a snapshot of the daemon's store to w. It may take as long as it comes in; that
// it is whole is told by its checksum, not by this.
func (c *Client) Snapshot(ctx context.Context, w io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.address("store/snapshot", nil), nil)
	if err != nil {
		return err
	}
	c.prepare(req)
	req.Header.Set("Accept", "application/octet-stream, application/problem+json")
	res, err := c.plain.Do(req)
	if err != nil {
		return c.unreachable(ctx, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return c.failure(res)
	}
	in := &source{Reader: res.Body}
	_, err = io.Copy(w, in)
	switch {
	case in.err != nil:
		return fmt.Errorf("the snapshot broke off: %w", c.unreachable(ctx, in.err))
	case err != nil:
		return fmt.Errorf("the snapshot can't be written: %w", err)
	}
	return nil
}

// source tells an error of the daemon's from one of the disk.
type source struct {
	io.Reader
	err error
}

// Read reads on.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}
