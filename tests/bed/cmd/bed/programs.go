package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"time"

	bed "quorate.dev/tests/bed"
)

// program is one binary of the bed.
type program struct {
	// name is the file it becomes in the cache's bin folder.
	name string
	// what a person reads while it builds.
	what string
	// source is a folder of this module, or a package at a version.
	source string
	// installs is the name `go install` gives the binary; empty for folders of this module.
	installs string
	// aliases are further names it is called by.
	aliases []string
	// stamps are versions to link in, which release builds get from git.
	stamps []string
	// usually is how long it took from nothing (downloads included) on two cores, CGO off.
	usually time.Duration
}

// kubernetesVersion is what go.mod pins, a test holds them equal. Not newer: from 1.36 on a kubelet refuses cgroup
// version 1, which some machines still have.
const kubernetesVersion = "1.35.4"

// versionStamps makes Kubernetes say which version it is: charts and clients ask.
func versionStamps(packages ...string) (stamps []string) {
	parts := strings.Split(kubernetesVersion, ".")
	for _, name := range packages {
		stamps = append(stamps, name+".gitVersion=v"+kubernetesVersion, name+".gitMajor="+parts[0], name+".gitMinor="+parts[1])
	}
	return stamps
}

// programs lists everything `bed build` builds, the longest first: whoever waits sees the worst at once.
//
// Kubernetes and etcd are pinned by this module's go.mod and go.sum. The others are pinned by version and checked
// against Go's checksum database, not by tool entries in go.mod: one module has one version of each dependency, so
// CoreDNS, two Helms and Kubernetes would all run with libraries their authors never released them with.
var programs = []program{
	{name: "kube", what: "Kubernetes " + kubernetesVersion + " and etcd in one binary", source: "./cmd/kube", usually: 270 * time.Second,
		aliases: []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"},
		stamps:  versionStamps("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")},
	{name: "helm3", what: "Helm 3.19.0", source: "helm.sh/helm/v3/cmd/helm@v3.19.0", installs: "helm", usually: 60 * time.Second, aliases: []string{"helm"}},
	{name: "helm4", what: "Helm 4.3.1", source: "helm.sh/helm/v4/cmd/helm@v4.3.1", installs: "helm", usually: 85 * time.Second},
	{name: "coredns", what: "CoreDNS 1.14.7", source: "github.com/coredns/coredns@v1.14.7", installs: "coredns", usually: 105 * time.Second},
	{name: "local-path-provisioner", what: "local-path-provisioner 0.0.30", source: "github.com/rancher/local-path-provisioner@v0.0.30", installs: "local-path-provisioner", usually: 55 * time.Second},
	{name: "pause", what: "the pause process of Pod sandboxes", source: "./cmd/pause", usually: time.Second},
}

func (p program) linkerFlags() string {
	flags := "-ldflags=-s -w"
	for _, stamp := range p.stamps {
		flags += " -X " + stamp
	}
	return flags
}

// cacheKey names a set of binaries: it changes exactly when what they are built from changes.
func cacheKey() string {
	hash := sha256.New()
	for _, p := range programs {
		fmt.Fprintf(hash, "%s %s %s %s\n", p.name, p.source, p.linkerFlags(), runtime.GOARCH)
	}
	err := fs.WalkDir(bed.Sources, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := bed.Sources.ReadFile(path)
		fmt.Fprintf(hash, "%s %d\n%s", path, len(content), content)
		return err
	})
	if err != nil {
		panic(err) // An embedded file system is part of this binary: it cannot fail to be read.
	}
	return hex.EncodeToString(hash.Sum(nil))[:12]
}
