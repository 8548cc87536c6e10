package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The parts of process 1 that need no namespaces; the rest is shown by the story in bed_test.go.
//
// There is one for all runs of the test: a reaper collects every child of its process, so two would rob each other.
var theSupervisor = sync.OnceValue(func() *supervisor {
	s := &supervisor{exits: map[int]chan syscall.WaitStatus{}}
	go s.reap()
	return s
})

func TestASupervisorKnowsHowAProcessEndedAndKeepsWhatItSaid(t *testing.T) {
	s := theSupervisor()
	s.logs = t.TempDir()
	// Many at once: a process that ends before it is noted must not be lost.
	ends := make(chan int)
	for range 20 {
		go func() {
			status, err := s.run("quick", []string{"/bin/sh", "-c", "echo said; exit 3"})
			if err != nil {
				t.Error(err)
			}
			ends <- status.ExitStatus()
		}()
	}
	for range 20 {
		select {
		case code := <-ends:
			if code != 3 {
				t.Errorf("exit code %d", code)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("the end of a process was never noticed")
		}
	}
	log, err := os.ReadFile(filepath.Join(s.logs, "quick.log"))
	if err != nil || strings.Count(string(log), "said\n") != 20 {
		t.Errorf("the log holds %q (%v)", log, err)
	}
	if _, err := s.run("none", []string{"/no/such/program"}); err == nil {
		t.Error("a program that is not there was started")
	}
}

func TestADaemonThatKeepsEndingIsGivenUpWithItsLastWords(t *testing.T) {
	s := &supervisor{logs: t.TempDir()}
	if err := os.WriteFile(filepath.Join(s.logs, "etcd.log"), []byte("noise\nbad flag\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var ends atomic.Int32
	ends.Store(endsMax)
	never := func() error { return errors.New("connection refused") }
	err := s.waitReady(daemon{name: "etcd", ready: never}, &ends)
	if err == nil || err.Error() != "etcd ended 5 times before it was ready: bad flag" {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsNeverReadySaysWhy(t *testing.T) {
	err := waitFor("etcd", 0, func() error { return errors.New("connection refused") })
	if err == nil || err.Error() != "etcd is not ready after 0s: connection refused" {
		t.Errorf("got %v", err)
	}
}

func TestWhileACommandChangesTheBedNoOtherGetsTheLock(t *testing.T) {
	p := paths{base: t.TempDir()}
	release, err := lock(p)
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.Open(filepath.Join(p.base, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := syscall.Flock(int(other.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != syscall.EWOULDBLOCK {
		t.Errorf("locked a second time: %v", err)
	}
	holder, err := os.ReadFile(other.Name())
	if err != nil || !strings.HasPrefix(string(holder), "process ") {
		t.Errorf("the file does not say who holds it: %q (%v)", holder, err)
	}
	release()
	if err := syscall.Flock(int(other.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		t.Errorf("not free after its release: %v", err)
	}
}
