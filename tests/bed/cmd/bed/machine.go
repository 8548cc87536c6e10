package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A host runs as one process tree: process 1 of a PID namespace (supervisor.go), which lives in the host's
// network namespace. Killing it is pulling the plug: the kernel kills every daemon, container and shim in it and
// drops its mounts. No list of PIDs can go stale, because a host is found by its namespaces, not by a file.

// initVerb is the hidden verb under which the bed runs as a host's process 1.
const initVerb = "init-host"

// killWait is how long the kernel gets to end a whole host; a process in the middle of a disk write may delay it.
const killWait = 20 * time.Second

// powerOn starts a host whose network namespace exists.
func powerOn(p paths, h host) error {
	log, err := os.OpenFile(filepath.Join(p.log(h), "init.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// nsenter enters the network namespace and then becomes the bed, so process 1 keeps its number.
	command := exec.Command("nsenter", "--net="+filepath.Join(namespaceFolder, h.namespace()), self, initVerb, h.name)
	command.Stdout, command.Stderr = log, log
	command.Dir = "/"
	command.Env = cleanEnvironment()
	if err := keepDescriptors(); err != nil {
		return err
	}
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC}
	if err := command.Start(); err != nil {
		return fmt.Errorf("cannot start host %s: %w; PID and mount namespaces need root with CAP_SYS_ADMIN", h.name, err)
	}
	go func() { _ = command.Wait() }()
	return nil
}

// cleanEnvironment is what daemons get: nothing of the caller's but where the bed's files are.
func cleanEnvironment() []string {
	environment := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
	if cacheHome, err := os.UserCacheDir(); err == nil {
		environment = append(environment, "XDG_CACHE_HOME="+cacheHome)
	}
	return environment
}

// keepDescriptors keeps what the caller left open from the daemons: they outlive it, and with it a lock would stay held.
func keepDescriptors() error {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("cannot see what is open: %w", err)
	}
	for _, entry := range open {
		if descriptor, err := strconv.Atoi(entry.Name()); err == nil && descriptor > syscall.Stderr {
			syscall.CloseOnExec(descriptor)
		}
	}
	return nil
}

// powerOff ends a host at once and waits until nothing of it runs. It is no error if it does not run.
func powerOff(h host) error {
	pid, alive := initOf(h)
	if !alive {
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("cannot kill host %s (process %d): %w", h.name, pid, err)
	}
	// The kernel ends process 1 of a PID namespace last.
	for deadline := time.Now().Add(killWait); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if state := processState(pid); state == "" || state == "Z" {
			return removeCgroups(h)
		}
	}
	return fmt.Errorf("host %s (process %d) is still there %v after SIGKILL: see /proc/%d/stack", h.name, pid, killWait, pid)
}

// initOf finds a host's process 1: in the host's network namespace, first process of the PID namespace right
// below ours, running this verb. The last condition tells it from the sandbox of a Pod on the host's network.
func initOf(h host) (pid int, alive bool) {
	var wanted syscall.Stat_t
	if err := syscall.Stat(filepath.Join(namespaceFolder, h.namespace()), &wanted); err != nil {
		return 0, false
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, false
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		var found syscall.Stat_t
		if err := syscall.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &found); err != nil || found.Ino != wanted.Ino || found.Dev != wanted.Dev {
			continue
		}
		numbers := statusFields(pid, "NSpid:")
		commandLine, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if len(numbers) == 2 && numbers[1] == "1" && slices.Contains(strings.Split(string(commandLine), "\x00"), initVerb) && processState(pid) != "Z" {
			return pid, true
		}
	}
	return 0, false
}

// processState is the kernel's letter for a process's state, "" if there is no such process.
func processState(pid int) string {
	fields := statusFields(pid, "State:")
	if len(fields) == 0 {
		return ""
	}
	return fields[0]
}

func statusFields(pid int, key string) []string {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil
	}
	for _, line := range strings.Split(string(content), "\n") {
		if rest, ok := strings.CutPrefix(line, key); ok {
			return strings.Fields(rest)
		}
	}
	return nil
}
