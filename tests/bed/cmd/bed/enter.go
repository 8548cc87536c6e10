package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
)

// besideVerb is the hidden verb under which the bed, already in the control plane's network, becomes a command.
const besideVerb = "become-beside"

// requireUp says what to do when there is no bed to talk to.
func requireUp(p paths) error {
	if _, alive := initOf(controlPlane); !alive {
		return failure("the bed is not up: run `bed up`")
	}
	if _, err := os.Stat(p.complete()); err != nil {
		return failure("the bed is not whole (a `bed up` is under way or ended early): run `bed up`")
	}
	return nil
}

func tool(name string) func(paths, []string) error {
	return func(p paths, arguments []string) error {
		return runBeside(p, append([]string{p.bin(name)}, arguments...))
	}
}

// runBeside becomes a command in the control plane's network; it only returns when that fails.
func runBeside(p paths, arguments []string) error {
	if len(arguments) == 0 {
		return usage("name a command")
	}
	if err := requireUp(p); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return become(append([]string{"nsenter", "--net=" + filepath.Join(namespaceFolder, controlPlane.namespace()), self, besideVerb}, arguments...))
}

// becomeBeside gives the command the cluster's DNS, in a mount namespace of its own, and the bed's tools.
func becomeBeside(p paths, arguments []string) error {
	runtime.LockOSThread() // Namespaces belong to a thread; the one that left the machine's is the one that becomes the command.
	if err := syscall.Unshare(syscall.CLONE_NEWNS); err != nil {
		return fmt.Errorf("cannot make a mount namespace: %w", err)
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	resolver := filepath.Join(p.host(controlPlane), "resolv.conf")
	if err := syscall.Mount(resolver, "/etc/resolv.conf", "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("cannot put the cluster's DNS in place of /etc/resolv.conf: %w", err)
	}
	helm := filepath.Join(p.run, "helm")
	for name, value := range map[string]string{
		"KUBECONFIG":       p.kubeconfig("admin"),
		"KUBECACHEDIR":     filepath.Join(p.run, "kubectl"),
		"HELM_CACHE_HOME":  filepath.Join(helm, "cache"),
		"HELM_CONFIG_HOME": filepath.Join(helm, "config"),
		"HELM_DATA_HOME":   filepath.Join(helm, "data"),
		"PATH":             filepath.Dir(p.bin("kubectl")) + ":" + os.Getenv("PATH"),
	} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return become(arguments)
}

// runOnNode becomes a command in a node's network, mounts and processes.
func runOnNode(p paths, arguments []string) error {
	if len(arguments) < 2 {
		return usage("name a node and a command")
	}
	node, err := findNode(arguments[0])
	if err != nil {
		return err
	}
	command, err := onNode(node, arguments[1:])
	if err != nil {
		return err
	}
	return become(command)
}

// onNode is a command line that runs another one on a node.
func onNode(node host, arguments []string) ([]string, error) {
	pid, alive := initOf(node)
	if !alive {
		return nil, failure("node %s is dead: run `bed start-node %s`", node.name, node.name)
	}
	return append([]string{"nsenter", "--target=" + strconv.Itoa(pid), "--mount", "--net", "--pid", "--ipc", "--"}, arguments...), nil
}

// become replaces this process.
func become(arguments []string) error {
	path, err := exec.LookPath(arguments[0])
	if err != nil {
		return failure("cannot run %s: %v", arguments[0], err)
	}
	err = syscall.Exec(path, arguments, os.Environ())
	return fmt.Errorf("cannot run %s: %w", arguments[0], err)
}

// kubectl asks the bed's API server as the administrator.
func kubectl(p paths, arguments ...string) (string, error) {
	command := exec.Command("nsenter", append([]string{"--net=" + filepath.Join(namespaceFolder, controlPlane.namespace()),
		p.bin("kubectl"), "--kubeconfig=" + p.kubeconfig("admin"), "--cache-dir=" + filepath.Join(p.run, "kubectl"), "--request-timeout=10s"}, arguments...)...)
	output, err := command.Output()
	if err != nil {
		reason := ""
		if exit, ok := err.(*exec.ExitError); ok {
			reason = ": " + string(lastLines(exit.Stderr, 3))
		}
		return "", fmt.Errorf("kubectl %s: %w%s", arguments[0], err, reason)
	}
	return string(output), nil
}
