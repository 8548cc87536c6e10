package main

import (
	"encoding/pem"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"crypto/x509"
)

var rewrite = flag.Bool("golden", false, "rewrite the golden files; read the diff")

// place is a fixed place for files, so that goldens are the same everywhere.
var place = paths{base: "/bed", cache: "/bed/key", run: "/bed/run"}

// golden compares with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got\n%s\nif that is meant: go test ./cmd/bed -golden", path, got)
	}
}

// rendered is everything that decides how a host runs: its files, then its daemons' command lines.
func rendered(h host) string {
	var out strings.Builder
	files := configuration(place, h)
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&out, "==== %s\n%s", name, files[name])
	}
	daemons := controlPlaneDaemons(place)
	if h.isNode() {
		daemons = nodeDaemons(place, h)
	}
	for _, d := range daemons {
		fmt.Fprintf(&out, "==== %s\n", d.name)
		// Where a distribution keeps its programs and plugins is not ours to pin.
		fmt.Fprintln(&out, strings.Join(append([]string{filepath.Base(d.arguments[0])}, d.arguments[1:]...), "\n  "))
	}
	return strings.ReplaceAll(out.String(), cniFolder(), "CNI-FOLDER")
}

func TestAHostRunsWithTheConfigurationThatWasReviewed(t *testing.T) {
	golden(t, "cp.golden", rendered(controlPlane))
	golden(t, "n3.golden", rendered(nodes[3]))
}

func TestHelpListsEveryVerbAPersonMayUse(t *testing.T) {
	golden(t, "help.golden", help())
}

func TestNodesHaveAddressesAndSubnetsOfTheirOwn(t *testing.T) {
	seen := map[string]string{}
	for _, h := range hosts() {
		for _, key := range []string{h.address(), h.link(), h.namespace()} {
			if seen[key] != "" {
				t.Errorf("%s and %s share %s", seen[key], h.name, key)
			}
			seen[key] = h.name
		}
		if len(h.link()) > 15 {
			t.Errorf("%s is too long for the name of a link", h.link())
		}
		if _, known := users[h.name]; h.isNode() && !known {
			t.Errorf("node %s has no identity", h.name)
		}
	}
}

func TestAServerIsTrustedByItsAddressAndOnlyThroughItsOwnAuthority(t *testing.T) {
	ours, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	other, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	server, err := ours.issue("n0", []string{"system:nodes"}, []net.IP{net.ParseIP("10.89.0.11")}, []string{"n0"})
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(server.certificate)
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if certificate.Subject.CommonName != "n0" || certificate.Subject.Organization[0] != "system:nodes" {
		t.Errorf("the identity is %v", certificate.Subject)
	}
	verify := func(a *authority, name string) error {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(a.pem)
		_, err := certificate.Verify(x509.VerifyOptions{Roots: roots, DNSName: name})
		return err
	}
	if err := verify(ours, "10.89.0.11"); err != nil {
		t.Errorf("not trusted: %v", err)
	}
	if verify(ours, "10.89.0.12") == nil {
		t.Error("trusted for another address")
	}
	if verify(other, "10.89.0.11") == nil {
		t.Error("trusted through the authority of another bed")
	}
}

func TestKeysAreReadableByTheirOwnerAlone(t *testing.T) {
	p := paths{base: t.TempDir()}
	p.run = filepath.Join(p.base, "run")
	if err := writePKI(p); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(p.pki(""))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < len(users) {
		t.Fatalf("only %d files", len(files))
	}
	for _, file := range files {
		status, err := file.Info()
		if err != nil {
			t.Fatal(err)
		}
		if status.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", file.Name(), status.Mode())
		}
	}
}
