package main

import (
	"syscall"
	"testing"
)

// A run under a lock of the caller's (flock) must not leave the lock with the bed, which stays up.
func TestWhatTheCallerLeftOpenIsNotInherited(t *testing.T) {
	descriptor, err := syscall.Open("/dev/null", syscall.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(descriptor)
	if err := keepDescriptors(); err != nil {
		t.Fatal(err)
	}
	flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(descriptor), syscall.F_GETFD, 0)
	if errno != 0 || flags&syscall.FD_CLOEXEC == 0 {
		t.Errorf("descriptor %d is inherited: flags %#x, %v", descriptor, flags, errno)
	}
}
