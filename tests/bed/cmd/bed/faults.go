package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// plug cuts a node off or heals it.
func plug(h host, in bool) error {
	if !namespaceExists(h.namespace()) {
		return failure("node %s is dead: run `bed start-node %s`", h.name, h.name)
	}
	return setLink(h, in)
}

// killNode ends everything on a node and takes it off the network. Its folder, the node's disk, stays.
func killNode(_ paths, h host) error {
	return errors.Join(powerOff(h), deleteHost(h))
}

// startNode boots a node with what is on its disk. One that runs is left alone.
func startNode(p paths, h host) error {
	if _, alive := initOf(h); alive {
		return nil
	}
	return errors.Join(killNode(p, h), bootHost(p, h)) // A node whose process 1 died by itself still has its network.
}

// signalAPIServer makes a verb that signals the API server: a child of the control plane's process 1.
func signalAPIServer(signal syscall.Signal) func(paths) error {
	return func(paths) error {
		parent, alive := initOf(controlPlane)
		if !alive {
			return failure("the control plane does not run: run `bed up`")
		}
		entries, err := os.ReadDir("/proc")
		if err != nil {
			return err
		}
		for _, entry := range entries {
			pid, err := strconv.Atoi(entry.Name())
			if err != nil || !slices.Equal(statusFields(pid, "PPid:"), []string{strconv.Itoa(parent)}) {
				continue
			}
			commandLine, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			if program, _, _ := strings.Cut(string(commandLine), "\x00"); filepath.Base(program) == "kube-apiserver" {
				return syscall.Kill(pid, signal)
			}
		}
		return failure("no API server runs: see `bed status`")
	}
}

// signalContainer makes a verb that signals the first process of a container. It asks the node, not the API server:
// a fault must be possible on a node that is cut off.
func signalContainer(signal string) func(paths, []string) error {
	return func(_ paths, arguments []string) error {
		if len(arguments) != 3 || strings.Count(arguments[1], "/") != 1 {
			return usage("name a node, a Pod as NAMESPACE/POD, and a container")
		}
		node, err := findNode(arguments[0])
		if err != nil {
			return err
		}
		namespace, pod, _ := strings.Cut(arguments[1], "/")
		id, err := runningContainer(node, namespace, pod, arguments[2])
		if err != nil {
			return err
		}
		_, err = ctr(node, "tasks", "kill", "--signal", signal, id)
		return err
	}
}

// runningContainer finds a container by the labels that the kubelet gave it; earlier, ended ones have them too.
func runningContainer(node host, namespace, pod, container string) (string, error) {
	filter := fmt.Sprintf(`labels."io.kubernetes.pod.namespace"==%q,labels."io.kubernetes.pod.name"==%q,labels."io.kubernetes.container.name"==%q`, namespace, pod, container)
	found, err := ctr(node, "containers", "list", "--quiet", filter)
	if err != nil {
		return "", err
	}
	tasks, err := ctr(node, "tasks", "list")
	if err != nil {
		return "", err
	}
	candidates := strings.Fields(found)
	for _, line := range strings.Split(tasks, "\n") { // ID, PID, state
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[2] != "STOPPED" && slices.Contains(candidates, fields[0]) {
			return fields[0], nil
		}
	}
	return "", failure("no container %s of Pod %s/%s runs on node %s: see `bed kubectl get pod -n %s -o wide`", container, namespace, pod, node.name, namespace)
}

// ctr calls containerd's client on a node.
func ctr(node host, arguments ...string) (string, error) {
	line, err := onNode(node, ctrArguments(arguments...))
	if err != nil {
		return "", err
	}
	var complaint bytes.Buffer
	command := exec.Command(line[0], line[1:]...)
	command.Stderr = &complaint
	output, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("ctr %s on node %s: %w: %s", arguments[0], node.name, err, bytes.TrimSpace(complaint.Bytes()))
	}
	return string(output), nil
}
