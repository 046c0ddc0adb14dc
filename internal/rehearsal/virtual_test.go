package rehearsal

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestVirtualTime(t *testing.T) {
	var slept time.Duration
	require.NoError(t, virtually(func() {
		began := time.Now()
		require.True(t, began.Equal(bubble))
		time.Sleep(30 * time.Minute)
		slept = time.Since(began)
	}))
	require.Equal(t, 30*time.Minute, slept)
}

func TestAPanicIsAnError(t *testing.T) {
	err := virtually(func() { panic("a bug") })
	require.ErrorContains(t, err, "a bug")
	require.ErrorContains(t, err, "virtual_test.go")
}

func TestADeadlockIsAnError(t *testing.T) {
	err := virtually(func() { <-make(chan bool) })
	require.ErrorContains(t, err, "deadlock")
	require.NoError(t, virtually(func() {}), "what was left behind does not disturb the next")
}
