package servertest

import (
	"errors"
	"math/rand/v2"
	"net"
	"testing"
)

// Ports below those that systems give to outgoing connections (from 32768 with Linux, from 49152 as
// RFC 6335 has it), so that nobody is given one between its choice and the server's start.
const firstPort, lastPort = 15000, 29999

// Address gives host:port on loopback for a server that is told where to listen. Until the test ends
// nobody else is given it, other test processes included.
func Address(t testing.TB) string {
	t.Helper()
	address, release, err := Reserve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = release() }) // a lock that is gone is a lock released
	return address
}

// Reserve is [Address] without a test: the caller releases.
func Reserve() (address string, release func() error, err error) {
	for range 1000 {
		at := net.IPv4(127, 0, 0, 1)
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		// The UDP port of the same number is the lock: the system ends it with the process.
		lock, busy := net.ListenUDP("udp4", &net.UDPAddr{IP: at, Port: port})
		if busy != nil {
			continue
		}
		l, busy := net.ListenTCP("tcp4", &net.TCPAddr{IP: at, Port: port})
		if busy != nil {
			err = errors.Join(err, lock.Close())
			continue
		}
		return l.Addr().String(), lock.Close, l.Close()
	}
	return "", nil, errors.Join(errors.New("no free port on loopback"), err)
}
