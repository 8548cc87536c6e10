package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const cgroupMount = "/sys/fs/cgroup"

// cgroupOf is the parent of the cgroups of all containers of a host, in each hierarchy.
func cgroupOf(h host) string { return "/quorate-bed/" + h.name }

// cgroupHierarchies are the roots of the machine's cgroup trees: one in version 2, one per controller in version 1.
func cgroupHierarchies() []string {
	var roots []string
	if _, err := os.Stat(cgroupMount + "/cgroup.procs"); err == nil {
		return []string{cgroupMount}
	}
	found, _ := filepath.Glob(cgroupMount + "/*/cgroup.procs")
	for _, path := range found {
		roots = append(roots, filepath.Dir(path))
	}
	return roots
}

// createCgroups makes a host's part of each tree before anything runs in it: the kubelet looks for it when it starts.
func createCgroups(h host) error {
	for _, hierarchy := range cgroupHierarchies() {
		parent := hierarchy
		for _, name := range strings.Split(strings.Trim(cgroupOf(h), "/"), "/") {
			folder := filepath.Join(parent, name)
			if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
				return fmt.Errorf("cannot make a cgroup for host %s: %w", h.name, err)
			}
			// In version 1 a new cpuset allows no processor and no memory node, and so would its children.
			for _, file := range []string{"cpuset.mems", "cpuset.cpus"} {
				if err := inheritCpuset(parent, folder, file); err != nil {
					return err
				}
			}
			parent = folder
		}
	}
	return nil
}

func inheritCpuset(parent, folder, file string) error {
	content, err := os.ReadFile(filepath.Join(parent, file))
	if errors.Is(err, os.ErrNotExist) {
		return nil // Another controller's tree, or version 2.
	}
	if err != nil {
		return err
	}
	own, err := os.ReadFile(filepath.Join(folder, file))
	if err != nil || len(strings.TrimSpace(string(own))) > 0 {
		return err
	}
	return os.WriteFile(filepath.Join(folder, file), content, 0o644)
}

// removeCgroups removes what the containers of a dead host leave in the cgroup file systems. Only empty cgroups
// can be removed, so this can harm nothing that runs.
func removeCgroups(h host) error {
	for _, hierarchy := range cgroupHierarchies() {
		root := hierarchy + cgroupOf(h)
		var folders []string
		_ = filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				folders = append(folders, path)
			}
			return nil
		})
		slices.Reverse(folders) // children before parents
		for _, folder := range folders {
			if err := syscall.Rmdir(folder); err != nil && !errors.Is(err, syscall.ENOENT) {
				return fmt.Errorf("cannot remove the cgroup %s: %w", folder, err)
			}
		}
		if len(folders) > 0 {
			_ = syscall.Rmdir(filepath.Dir(root)) // the last host takes /quorate-bed with it
		}
	}
	return nil
}
