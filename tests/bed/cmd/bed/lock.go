package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// lockWait is how long a command waits for another that changes the bed: a first build may be under way.
const lockWait = 30 * time.Minute

// lock keeps commands that change the bed from running at once. The kernel gives it back when the process ends,
// however it ends.
func lock(p paths) (release func(), err error) {
	if err := os.MkdirAll(p.base, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(p.base, "lock")
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	told := false
	for deadline := time.Now().Add(lockWait); ; time.Sleep(200 * time.Millisecond) {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if err != syscall.EWOULDBLOCK {
			return nil, fmt.Errorf("cannot lock %s: %w", path, err)
		}
		holder, _ := os.ReadFile(path)
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("the bed is still locked after %v by: %s", lockWait, strings.TrimSpace(string(holder)))
		}
		if !told {
			say("waiting for another bed command: %s", strings.TrimSpace(string(holder)))
			told = true
		}
	}
	_ = file.Truncate(0)
	_, _ = file.WriteAt([]byte(fmt.Sprintf("process %d, bed %s\n", os.Getpid(), strings.Join(os.Args[1:], " "))), 0)
	return func() { _ = file.Close() }, nil
}
