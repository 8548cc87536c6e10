package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// restartDelay is between the end of a daemon and its restart, as a service manager would do it.
const restartDelay = time.Second

// readyWait is how long a daemon may take to be ready before its host gives up on it.
const readyWait = 2 * time.Minute

// endsMax is how often a daemon may end before it was ready; then its configuration is wrong, and waiting is no use.
const endsMax = 5

// daemon is a program that runs on a host until the host ends.
type daemon struct {
	name      string
	arguments []string
	// ready tells when the next daemon may start; nil: at once.
	ready func() error
	// then runs once after it first became ready.
	then func(*supervisor) error
}

// supervisor is process 1 of a host: it starts the daemons in order, restarts what ends, and reaps orphans
// (container shims detach themselves from containerd and end up here).
type supervisor struct {
	logs string
	// mutex makes starting a process and noting it in exits one step, so that the reaper cannot be quicker.
	mutex sync.Mutex
	exits map[int]chan syscall.WaitStatus
}

// runHost is the life of a host's process 1; it only returns if the host cannot work.
func runHost(p paths, h host) error {
	if os.Getpid() != 1 {
		return usage("%s is for the bed itself: it must be process 1 of a PID namespace", initVerb)
	}
	if err := isolateMounts(); err != nil {
		return err
	}
	// Every host routes: nodes to their Pods, the control plane for the sake of symmetry. Per network namespace.
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return err
	}
	if err := createCgroups(h); err != nil {
		return err
	}
	s := &supervisor{logs: p.log(h), exits: map[int]chan syscall.WaitStatus{}}
	go s.reap()
	daemons := controlPlaneDaemons(p)
	if h.isNode() {
		daemons = nodeDaemons(p, h)
	}
	for _, d := range daemons {
		s.note("starting %s", d.name)
		var ends atomic.Int32
		go s.keep(d, &ends)
		if err := s.waitReady(d, &ends); err != nil {
			return err
		}
		if d.then != nil {
			if err := d.then(s); err != nil {
				return err
			}
		}
	}
	s.note("all daemons started")
	if err := os.WriteFile(p.started(h), nil, 0o644); err != nil {
		return err
	}
	select {}
}

// isolateMounts gives the host its own view of the file system: nothing it mounts is seen outside, and the
// folders where runtimes keep sockets and leases are its own and empty.
func isolateMounts() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot detach the mounts from the machine's: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("cannot mount /proc of the new PID namespace: %w", err)
	}
	for _, folder := range masked {
		if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("cannot mask %s: %w", folder, err)
		}
	}
	// Within the host mounts are shared, as on a machine booted by systemd: volumes with mount propagation need it.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SHARED, ""); err != nil {
		return fmt.Errorf("cannot share mounts within the host: %w", err)
	}
	return nil
}

// waitReady waits until a daemon is ready, unless it cannot become so.
func (s *supervisor) waitReady(d daemon, ends *atomic.Int32) error {
	if d.ready == nil {
		return nil
	}
	hopeless := false
	err := waitFor(d.name, readyWait, func() error {
		err := d.ready()
		hopeless = err != nil && ends.Load() >= endsMax
		if hopeless {
			return nil
		}
		return err
	})
	if hopeless {
		content, _ := os.ReadFile(filepath.Join(s.logs, d.name+".log"))
		return fmt.Errorf("%s ended %d times before it was ready: %s", d.name, ends.Load(), lastLines(content, 1))
	}
	return err
}

// keep runs a daemon for ever, and counts how often it ended.
func (s *supervisor) keep(d daemon, ends *atomic.Int32) {
	for ; ; ends.Add(1) {
		status, err := s.run(d.name, d.arguments)
		if err != nil {
			s.note("%s does not start: %v", d.name, err)
		} else {
			s.note("%s ended (exit code %d, signal %v): restarting", d.name, status.ExitStatus(), status.Signal())
		}
		time.Sleep(restartDelay)
	}
}

// run starts a process, its output appended to its log, and waits for its end.
func (s *supervisor) run(name string, arguments []string) (syscall.WaitStatus, error) {
	log, err := os.OpenFile(filepath.Join(s.logs, name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	nothing, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer nothing.Close()
	exit := make(chan syscall.WaitStatus, 1)
	s.mutex.Lock()
	process, err := os.StartProcess(arguments[0], arguments, &os.ProcAttr{Dir: "/", Env: cleanEnvironment(), Files: []*os.File{nothing, log, log}})
	if err == nil {
		s.exits[process.Pid] = exit
	}
	s.mutex.Unlock()
	if err != nil {
		return 0, err
	}
	defer func() { _ = process.Release() }()
	return <-exit, nil
}

// reap collects every child that ends, its own and adopted ones.
func (s *supervisor) reap() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	for range ended {
		for {
			var status syscall.WaitStatus
			s.mutex.Lock()
			pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
			if err == nil && pid > 0 {
				if exit, ours := s.exits[pid]; ours {
					exit <- status
					delete(s.exits, pid)
				}
			}
			s.mutex.Unlock()
			if err != nil && err != syscall.EINTR || err == nil && pid <= 0 {
				break
			}
		}
	}
}

// note writes a line to the host's init.log.
func (s *supervisor) note(format string, arguments ...any) {
	fmt.Printf("%s %s\n", time.Now().UTC().Format("15:04:05.000"), fmt.Sprintf(format, arguments...))
}

// waitFor asks until the answer is no error, or the time is over: then the last error is the reason.
func waitFor(what string, limit time.Duration, ready func() error) error {
	for deadline := time.Now().Add(limit); ; time.Sleep(100 * time.Millisecond) {
		err := ready()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready after %v: %w", what, limit, err)
		}
	}
}
