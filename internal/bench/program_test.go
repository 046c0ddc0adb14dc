package bench

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper/internal/client"
	"github.com/gatekeeper-engine/gatekeeper/internal/servertest"
)

// program gives the path of the gatekeeper program, built once.
var program = sync.OnceValues(func() (string, error) {
	path := filepath.Join(folder, "gatekeeper")
	build := exec.Command("go", "build", "-o", path, "../../cmd/gatekeeper")
	build.Stdout, build.Stderr = os.Stdout, os.Stderr
	return path, build.Run()
})

// folder holds the program.
var folder string

func TestMain(m *testing.M) {
	var err error
	if folder, err = os.MkdirTemp("", "gatekeeper-bench"); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := os.RemoveAll(folder); err != nil {
		panic(err)
	}
	os.Exit(code)
}

// startDaemon runs the program with a configuration but for its address, until the benchmark ends.
func startDaemon(b *testing.B, config string) *client.Client {
	b.Helper()
	path, err := program()
	require.NoError(b, err)
	address := servertest.Address(b)
	file := filepath.Join(b.TempDir(), "gatekeeper.yml")
	require.NoError(b, os.WriteFile(file, []byte("listen: "+address+"\n"+config), 0o600))
	servertest.Run(b, path, "serve", "--config", file)
	servertest.Ready(b, "http://"+address+"/-/ready")
	c, err := client.New("http://"+address, "", http.DefaultClient)
	require.NoError(b, err)
	return c
}
