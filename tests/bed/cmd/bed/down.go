package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// down ends the bed and leaves nothing of it but the built programs.
func down(p paths) error {
	if err := refuseForeign(p); err != nil {
		return err
	}
	if err := clean(p); err != nil {
		return err
	}
	say("the bed is down; the built programs stay in %s", p.cache)
	return nil
}

// clean removes whatever there is of a bed, whole or left by a crash. It is no error if there is nothing.
func clean(p paths) error {
	var failures []error
	for _, h := range hosts() {
		failures = append(failures, powerOff(h), removeCgroups(h))
	}
	if err := errors.Join(failures...); err != nil {
		return err
	}
	if err := deleteNetwork(); err != nil {
		return err
	}
	// Nothing is mounted in here: every mount was in a host's own mount namespace and went with it.
	if err := os.RemoveAll(p.run); err != nil {
		return fmt.Errorf("cannot delete the state of the last bed: %w", err)
	}
	return nil
}

// refuseForeign protects a running bed whose files are elsewhere, for example another user's: the names of network
// namespaces are the machine's, so there can be one bed at a time.
func refuseForeign(p paths) error {
	for _, h := range hosts() {
		pid, alive := initOf(h)
		if !alive {
			continue
		}
		environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil {
			continue // It has just ended.
		}
		ours := "XDG_CACHE_HOME=" + filepath.Dir(filepath.Dir(p.base))
		for _, variable := range strings.Split(string(environment), "\x00") {
			if strings.HasPrefix(variable, "XDG_CACHE_HOME=") && variable != ours {
				return failure("another bed runs on this machine: take it down with `%s bed down`", variable)
			}
		}
	}
	return nil
}
