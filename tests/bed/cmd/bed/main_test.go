package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bed "quorate.dev/tests/bed"
)

func TestAWrongCommandLineIsAUsageErrorThatNamesTheWayOut(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	for _, test := range []struct{ line, want string }{
		{"", "say what to do"},
		{"destroy", `unknown verb "destroy"`},
		{"path x", `unexpected argument "x"`},
		{"missing --all", "missing takes no argument but --install"},
		{initVerb + " n0", "must be process 1"},
		{initVerb + " n9", "no such host"},
	} {
		err := dispatch(strings.Fields(test.line))
		var exit coded
		if !errors.As(err, &exit) || exit.code != exitUsage || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "bed help") {
			t.Errorf("bed %s: got %v, want %s", test.line, err, test.want)
		}
	}
}

func TestAnUnknownNodeIsRefusedWithTheNamesOfTheOthers(t *testing.T) {
	if _, err := findNode("n7"); err == nil || !strings.Contains(err.Error(), "the nodes are n0, n1, n2, n3") {
		t.Errorf("got %v", err)
	}
}

func TestTheVersionKubernetesReportsIsTheOneThatIsBuilt(t *testing.T) {
	pinned, err := bed.Sources.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(pinned), "k8s.io/kubernetes v"+kubernetesVersion+"\n") {
		t.Errorf("go.mod does not pin Kubernetes %s", kubernetesVersion)
	}
}

// A bed below a folder that its own nodes mask could not see its own files.
func TestACacheThatNodesWouldHideIsRefused(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", "/var/lib/cache")
	if _, err := findPaths(); err == nil || !strings.Contains(err.Error(), "set XDG_CACHE_HOME") {
		t.Errorf("got %v", err)
	}
}

func TestTheBedKeepsToItsOwnFolder(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	p, err := findPaths()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{p.cache, p.run, p.bin("kube"), p.images(), p.complete(), p.pki("x"), p.host(nodes[0])} {
		if !strings.HasPrefix(path, filepath.Join(cache, "quorate", "bed")+"/") {
			t.Errorf("%s is outside", path)
		}
	}
}

func TestTheSourcesInTheToolAreWholeEnoughToBuild(t *testing.T) {
	folder := t.TempDir()
	if err := writeSources(folder); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"go.mod", "go.sum", "cmd/kube/main.go", "cmd/pause/main.go"} {
		if content, err := os.ReadFile(filepath.Join(folder, name)); err != nil || len(content) == 0 {
			t.Errorf("%s: %d bytes, %v", name, len(content), err)
		}
	}
}

func TestTheEndOfAnOutputIsWhatIsShownOfIt(t *testing.T) {
	if got := string(lastLines([]byte("a\nb\nc\n"), 2)); got != "b\nc" {
		t.Errorf("got %q", got)
	}
	if got := string(lastLines(nil, 2)); got != "" {
		t.Errorf("got %q", got)
	}
}
