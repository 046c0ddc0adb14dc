package gatekeeper_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// eachFile parses every Go file that is no test.
func eachFile(t *testing.T, mode parser.Mode, see func(path string, fset *token.FileSet, file *ast.File)) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, mode)
		if err == nil {
			see(path, fset, file)
		}
		return err
	}))
}

// Every package says what it is for, in the form that go doc shows.
func TestPackagesAreDocumented(t *testing.T) {
	said := map[string]bool{} // by folder
	eachFile(t, parser.PackageClauseOnly|parser.ParseComments, func(path string, _ *token.FileSet, file *ast.File) {
		dir := filepath.Dir(path)
		begin := "Package " + file.Name.Name + " "
		if file.Name.Name == "main" {
			begin = "Command " + filepath.Base(dir) + " "
		}
		said[dir] = said[dir] || strings.HasPrefix(file.Doc.Text(), begin)
	})
	require.Greater(t, len(said), 20, "the packages were not found")
	for dir, ok := range said {
		require.True(t, ok, "package %s has no comment that begins with Package or Command and its name", dir)
	}
}

// outbound is what opens connections, by import path. Types stand for their values: a pointer to a client
// that somebody else made is none.
var outbound = map[string][]string{
	"net":                                   {"Dial", "DialTimeout", "DialTCP", "DialUDP", "DialUnix", "DialIP", "Dialer"},
	"crypto/tls":                            {"Dial", "DialWithDialer", "Dialer"},
	"net/http":                              {"Client", "Transport", "DefaultClient", "DefaultTransport", "Get", "Head", "Post", "PostForm", "ProxyFromEnvironment"},
	"github.com/hashicorp/go-retryablehttp": {"NewClient", "Get", "Head", "Post", "PostForm"},
	"github.com/hashicorp/go-cleanhttp":     {"DefaultClient", "DefaultTransport", "DefaultPooledClient", "DefaultPooledTransport"},
	"github.com/prometheus/common/config":   {"NewClientFromConfig", "NewRoundTripperFromConfig", "NewRoundTripperFromConfigWithContext"},
	"google.golang.org/grpc":                {"NewClient", "Dial", "DialContext"},
	"go.etcd.io/etcd/client/v3":             {"New", "NewFromURL", "NewFromURLs"},
	"k8s.io/client-go/dynamic":              {"NewForConfig", "NewForConfigAndClient"},
	"k8s.io/client-go/kubernetes":           {"NewForConfig", "NewForConfigAndClient"},
}

// openers are the folders that may use them: each connects to what the operator configured, and nowhere else.
var openers = []string{
	"internal/httpclient",                                       // for everything that is asked by HTTP
	"actions/haproxy",                                           // the runtime API's address or socket
	"actions/kubernetes",                                        // the API server
	"internal/etcd",                                             // the store's endpoints
	"internal/systemd",                                          // the socket of the service manager
	"internal/demo",                                             // the demo's own customers, on loopback
	"internal/servertest", "internal/kubetest", "examples/shop", // no part of the program
}

// What goes out goes through the few packages that bound it to the hosts of connections;
// TestOutboundRequestsOnlyToHostsOfConnections of internal/e2e shows that they do.
func TestOnlyFewPackagesConnect(t *testing.T) {
	found := map[string]bool{} // by folder
	eachFile(t, 0, func(file string, fset *token.FileSet, tree *ast.File) {
		dir := filepath.ToSlash(filepath.Dir(file))
		for _, use := range connects(tree) {
			found[dir] = true
			require.Contains(t, openers, dir, "%s: %s: make a client with internal/httpclient", fset.Position(use.Pos()), use.Sel.Name)
		}
	})
	for _, dir := range openers {
		require.True(t, found[dir], "%s connects to nothing: take it off the list", dir)
	}
}

// connects gives the uses of what opens connections.
func connects(file *ast.File) (uses []*ast.SelectorExpr) {
	imports := map[string]string{} // import path, by the name in the file
	for _, i := range file.Imports {
		full, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			continue // it would not compile
		}
		name := strings.TrimPrefix(path.Base(full), "go-")
		if i.Name != nil {
			name = i.Name.Name
		} else if full == "go.etcd.io/etcd/client/v3" {
			name = "clientv3"
		}
		imports[name] = full
	}
	given := map[ast.Node]bool{} // *http.Client as a type: somebody else made it
	ast.Inspect(file, func(n ast.Node) bool {
		if star, ok := n.(*ast.StarExpr); ok {
			given[star.X] = true
		}
		use, ok := n.(*ast.SelectorExpr)
		if !ok || given[use] {
			return true
		}
		if of, ok := use.X.(*ast.Ident); ok && of.Obj == nil && slices.Contains(outbound[imports[of.Name]], use.Sel.Name) {
			uses = append(uses, use)
		}
		return true
	})
	return uses
}
