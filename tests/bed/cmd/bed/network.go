package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// namespaceFolder is where iproute2 keeps named network namespaces.
const namespaceFolder = "/run/netns"

// createFabric makes the bridge that joins the hosts. It has no route out of the machine, so neither has a host.
func createFabric() error {
	return ip(
		"netns add "+fabric,
		"-n "+fabric+" link set lo up",
		"-n "+fabric+" link add br0 type bridge",
		"-n "+fabric+" link set br0 up",
	)
}

// createHost makes a host's namespace, plugs it into the bridge and routes every node's Pods to that node.
func createHost(h host) error {
	in := "-n " + h.namespace() + " "
	commands := []string{
		"netns add " + h.namespace(),
		in + "link set lo up",
		"link add " + h.link() + " netns " + fabric + " type veth peer name eth0 netns " + h.namespace(),
		"-n " + fabric + " link set " + h.link() + " master br0 up",
		in + "addr add " + h.address() + "/24 dev eth0",
		in + "link set eth0 up",
		// Where to does not matter, kube-proxy rewrites the destination; but without a route nothing is ever sent.
		in + "route add " + serviceNetwork + " dev eth0",
	}
	for _, node := range nodes {
		if node != h {
			commands = append(commands, in+"route add "+node.podSubnet()+" via "+node.address())
		}
	}
	return ip(commands...)
}

// deleteHost takes the host off the network; whatever still sends to it hears nothing, as from a dead machine.
func deleteHost(h host) error {
	if !namespaceExists(h.namespace()) {
		return nil
	}
	// The bridge's end goes first: when a namespace is deleted, the kernel takes its links down some time later.
	_ = ip("-n " + fabric + " link del " + h.link())
	return ip("netns del " + h.namespace())
}

// deleteNetwork removes every namespace of the bed, also those of a bed with other hosts.
func deleteNetwork() error {
	found, err := filepath.Glob(filepath.Join(namespaceFolder, namespacePrefix+"*"))
	if err != nil {
		return err
	}
	for _, path := range found {
		if err := ip("netns del " + filepath.Base(path)); err != nil {
			return err
		}
	}
	return nil
}

// setLink plugs a host in or unplugs it.
func setLink(h host, up bool) error {
	state := "down"
	if up {
		state = "up"
	}
	return ip("-n " + fabric + " link set " + h.link() + " " + state)
}

// isLinkUp tells whether a host is plugged in.
func isLinkUp(h host) bool {
	output, err := exec.Command("ip", "-n", fabric, "-o", "link", "show", h.link()).Output()
	return err == nil && bytes.Contains(output, []byte("state UP"))
}

func namespaceExists(name string) bool {
	_, err := os.Stat(filepath.Join(namespaceFolder, name))
	return err == nil
}

// ip runs iproute2 commands one after the other and stops at the first that fails.
func ip(commands ...string) error {
	for _, command := range commands {
		output, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ip %s: %w: %s", command, err, bytes.TrimSpace(output))
		}
	}
	return nil
}
