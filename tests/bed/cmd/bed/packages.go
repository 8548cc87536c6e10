package main

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// packages are the Debian packages the bed runs on, each with the programs of it that the bed calls. What is of
// Debian's essential set (util-linux, tar) is not listed. Debian starts its own containerd when it is installed;
// that does no harm: sockets and folders of the bed's are others.
var packages = []struct {
	name     string
	programs []string
}{
	{"containerd", []string{"containerd", "ctr", "containerd-shim-runc-v2"}},
	{"runc", []string{"runc"}},
	{"iptables", []string{"iptables", "iptables-save", "iptables-restore"}},
	{"iproute2", []string{"ip"}},
}

// cniFolders are where distributions put the CNI plugins.
var cniFolders = []string{"/usr/lib/cni", "/usr/libexec/cni", "/opt/cni/bin"}

// missingPackages is what must be installed before the bed can run on this machine.
func missingPackages() []string {
	var missing []string
	for _, wanted := range packages {
		for _, program := range wanted.programs {
			if _, err := exec.LookPath(program); err != nil {
				missing = append(missing, wanted.name)
				break
			}
		}
	}
	if _, err := os.Stat(filepath.Join(cniFolder(), "host-local")); err != nil {
		missing = append(missing, "containernetworking-plugins")
	}
	if !isStatic(busyboxPath()) {
		missing = append(missing, "busybox-static")
	}
	return missing
}

// cniFolder is where this machine has its CNI plugins.
func cniFolder() string {
	for _, folder := range cniFolders {
		if _, err := os.Stat(filepath.Join(folder, "bridge")); err == nil {
			return folder
		}
	}
	return cniFolders[0]
}

func busyboxPath() string { return find("busybox") }

// isStatic tells whether a program runs in an image that holds nothing else: the package busybox has a dynamically
// linked program of the same name.
func isStatic(path string) bool {
	program, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer program.Close()
	for _, segment := range program.Progs {
		if segment.Type == elf.PT_INTERP {
			return false
		}
	}
	return true
}

func installCommand(missing []string) string {
	return "apt-get install -y --no-install-recommends " + strings.Join(missing, " ")
}

// showMissing prints what must be installed, and installs it if asked to.
func showMissing(arguments []string) error {
	install := len(arguments) == 1 && arguments[0] == "--install"
	if len(arguments) > 0 && !install {
		return usage("missing takes no argument but --install")
	}
	missing := missingPackages()
	if len(missing) == 0 {
		say("every package the bed needs is installed")
		return nil
	}
	if !install || os.Geteuid() != 0 {
		return coded{exitImpossible, fmt.Sprintf("packages are missing: %s; run as root: %s", strings.Join(missing, " "), installCommand(missing))}
	}
	say("installing %s", strings.Join(missing, " "))
	for _, line := range []string{"apt-get update -q", installCommand(missing)} {
		command := exec.Command("apt-get", strings.Fields(line)[1:]...)
		command.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		command.Stdout, command.Stderr = os.Stderr, os.Stderr
		if err := command.Run(); err != nil {
			return failure("%s: %v", line, err)
		}
	}
	if missing := missingPackages(); len(missing) > 0 {
		return failure("still missing after the installation: %s", strings.Join(missing, " "))
	}
	return nil
}
