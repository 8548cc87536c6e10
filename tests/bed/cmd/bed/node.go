package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
)

// containerdSocket is in the node's own /run: short enough for a socket's name, and gone with the node.
const containerdSocket = "/run/containerd/containerd.sock"

// kubeletHealth is where a kubelet answers once it works; every node has a localhost of its own.
const kubeletHealth = "127.0.0.1:10248"

const (
	pauseImage   = "localhost/bed-pause:1"
	busyboxImage = "localhost/bed-busybox:1"
)

// nodeDaemons is what runs on a node, in order. The kubelet starts when the API server answers, so that it registers
// at its first try and not after a back-off.
func nodeDaemons(p paths, h host) []daemon {
	state := p.host(h)
	return []daemon{
		{name: "containerd", ready: dials("unix", containerdSocket), then: readyForPods(p), arguments: []string{find("containerd"),
			"--config", filepath.Join(state, "containerd.toml")}},
		proxyDaemon(p, h),
		{name: "kubelet", ready: dials("tcp", kubeletHealth), arguments: []string{p.bin("kubelet"),
			"--config=" + filepath.Join(state, "kubelet.yaml"), "--kubeconfig=" + p.kubeconfig(h.name),
			"--hostname-override=" + h.name, "--node-ip=" + h.address(),
			"--root-dir=" + filepath.Join(state, "kubelet"), "--cert-dir=" + filepath.Join(state, "kubelet", "pki"),
			"--node-labels=topology.kubernetes.io/zone=" + h.zone + ",topology.kubernetes.io/region=bed"}},
	}
}

func proxyDaemon(p paths, speaksFor host) daemon {
	return daemon{name: "kube-proxy", arguments: []string{p.bin("kube-proxy"),
		"--kubeconfig=" + p.kubeconfig("proxy"), "--hostname-override=" + speaksFor.name,
		"--proxy-mode=iptables", "--cluster-cidr=" + podNetwork,
		// Neither scores below 0 nor conntrack's system-wide settings can be written without full privileges.
		"--oom-score-adj=0", "--conntrack-max-per-core=0",
		"--conntrack-tcp-timeout-established=0s", "--conntrack-tcp-timeout-close-wait=0s"}}
}

// readyForPods gives a node the two images that the bed itself needs, and waits for the API server.
func readyForPods(p paths) func(*supervisor) error {
	return func(s *supervisor) error {
		for _, name := range []string{"pause.tar", "busybox.tar"} {
			status, err := s.run("images", ctrArguments("images", "import", filepath.Join(p.images(), name)))
			if err != nil {
				return err
			}
			if status != syscall.WaitStatus(0) {
				return fmt.Errorf("cannot import %s (exit code %d): see images.log", name, status.ExitStatus())
			}
		}
		return waitFor("the API server", readyWait, apiReady(p))
	}
}

// ctrArguments is a call of containerd's client within a node, in the namespace that the kubelet uses.
func ctrArguments(arguments ...string) []string {
	return append([]string{find("ctr"), "--address", containerdSocket, "--namespace", "k8s.io"}, arguments...)
}

// find is the whole path of a program that missing() has found before; its name alone if it has gone since.
func find(name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		return name
	}
	return path
}
