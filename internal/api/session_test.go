package api

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSessionsEnd(t *testing.T) {
	s, now := NewSessions(), time.Now()
	ops := tokens(t)[1]
	id := hashed(s.begin(&ops, now))
	one, ok := s.find(id, now.Add(sessionFor-time.Second))
	require.True(t, ok)
	require.Equal(t, "ops", one.token)
	_, ok = s.find(id, now.Add(sessionFor))
	require.False(t, ok, "after its time")

	for i := range maxSessions {
		s.begin(&ops, now.Add(time.Duration(i+1)*time.Second))
	}
	require.Len(t, s.open, maxSessions)
	_, ok = s.find(id, now)
	require.False(t, ok, "the oldest made room")
	s.begin(&ops, now.Add(sessionFor+time.Hour))
	require.Len(t, s.open, 1, "what was over is forgotten")
}

func TestWrongTokensAreCounted(t *testing.T) {
	s, now := NewSessions(), time.Now()
	for range maxFailures {
		require.True(t, s.mayTry("10.0.0.7", now))
		s.failed("10.0.0.7", now)
	}
	require.False(t, s.mayTry("10.0.0.7", now))
	require.True(t, s.mayTry("10.0.0.8", now))
	require.True(t, s.mayTry("10.0.0.7", now.Add(failureFor)))
	for i := range 2 * maxAddresses {
		s.failed(fmt.Sprint(i), now)
	}
	require.LessOrEqual(t, len(s.failures), maxAddresses)
}
