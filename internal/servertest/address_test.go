package servertest

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// An address is given once, and again only when it was released; a server can listen on it at once.
func TestAddressesDiffer(t *testing.T) {
	given := map[string]bool{}
	for range 500 {
		address := Address(t)
		require.False(t, given[address], address)
		given[address] = true
	}
	l, err := net.Listen("tcp", Address(t))
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

func TestReleasedAddress(t *testing.T) {
	address, release, err := Reserve()
	require.NoError(t, err)
	_, err = net.ListenPacket("udp4", address)
	require.Error(t, err, "the address is locked")
	require.NoError(t, release())
	lock, err := net.ListenPacket("udp4", address)
	require.NoError(t, err)
	require.NoError(t, lock.Close())
}
