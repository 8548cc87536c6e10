package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// paths says where the bed keeps what it writes. There is nothing else it writes to, network namespaces and
// cgroups named after it aside.
type paths struct {
	// base is the bed's own folder under the user's cache folder.
	base string
	// cache holds the binaries of one set of pinned versions.
	cache string
	// run holds the state of the running bed: keys, etcd, containers, volumes, logs. `bed down` removes it. It is
	// beside the cache because overlayfs needs a real file system under it, which /run or /tmp may not be.
	run string
}

// masked are the host folders that each node replaces by an empty one of its own, so that runtime sockets, CNI
// leases and log links of four nodes neither meet nor outlive the bed.
var masked = []string{"/run", "/var/lib", "/var/log"}

func findPaths() (paths, error) {
	cacheHome, err := os.UserCacheDir() // XDG_CACHE_HOME, or ~/.cache
	if err != nil {
		return paths{}, fmt.Errorf("no place for the bed's files: %w; set HOME or XDG_CACHE_HOME", err)
	}
	base := filepath.Join(cacheHome, "quorate", "bed")
	for _, folder := range masked {
		if strings.HasPrefix(base, folder+"/") {
			return paths{}, fmt.Errorf("the bed cannot live in %s: its nodes hide %s from themselves; set XDG_CACHE_HOME to another folder", base, folder)
		}
	}
	return paths{base: base, cache: filepath.Join(base, cacheKey()), run: filepath.Join(base, "run")}, nil
}

func (p paths) bin(name string) string     { return filepath.Join(p.cache, "bin", name) }
func (p paths) host(h host) string         { return filepath.Join(p.run, h.name) }
func (p paths) log(h host) string          { return filepath.Join(p.run, h.name, "log") }
func (p paths) pki(name string) string     { return filepath.Join(p.run, "pki", name) }
func (p paths) kubeconfig(u string) string { return filepath.Join(p.run, "pki", u+".kubeconfig") }
func (p paths) images() string             { return filepath.Join(p.run, "images") }

// started is there once every daemon of a host was started and ready.
func (p paths) started(h host) string { return filepath.Join(p.run, h.name, "started") }

// complete is there when `bed up` got to its end; without it, what lies in run was left by a crash. It
// holds the cache key that the bed was started with.
func (p paths) complete() string { return filepath.Join(p.run, "complete") }
