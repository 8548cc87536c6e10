package main

import (
	"fmt"
	"strings"
)

// host is one machine of the bed: a network namespace, and inside it a PID and a mount namespace with the
// machine's daemons.
type host struct {
	name string
	// number makes its addresses: the control plane is 0, node nX is X+1.
	number int
	// zone is a node's failure domain; the control plane has none.
	zone string
}

var (
	controlPlane = host{name: "cp"}
	// Three zones for four nodes: n3 shares z0, so that zones and nodes are not the same thing to a test.
	nodes = []host{
		{name: "n0", number: 1, zone: "z0"},
		{name: "n1", number: 2, zone: "z1"},
		{name: "n2", number: 3, zone: "z2"},
		{name: "n3", number: 4, zone: "z0"},
	}
)

// namespacePrefix marks the bed's network namespaces: the bed owns every one that has it.
const namespacePrefix = "quorate-"

// fabric is the namespace of the bridge that joins the hosts.
const fabric = namespacePrefix + "fab"

const (
	apiPort        = 6443
	podNetwork     = "10.244.0.0/16"
	serviceNetwork = "10.96.0.0/16"
	// serviceAPI is the ClusterIP of the API server: the first address of the service network.
	serviceAPI    = "10.96.0.1"
	clusterDomain = "cluster.local"
)

func hosts() []host { return append([]host{controlPlane}, nodes...) }

func (h host) isNode() bool      { return h.zone != "" }
func (h host) namespace() string { return namespacePrefix + h.name }
func (h host) address() string   { return fmt.Sprintf("10.89.0.%d", 10+h.number) }

// podSubnet is the part of the Pod network that a node gives to its Pods.
func (h host) podSubnet() string { return fmt.Sprintf("10.244.%d.0/24", h.number-1) }

// link is the host's port on the bridge: taking it down cuts the host off.
func (h host) link() string { return "vf-" + h.name }

func apiURL() string { return fmt.Sprintf("https://%s:%d", controlPlane.address(), apiPort) }

func findNode(name string) (host, error) {
	var names []string
	for _, node := range nodes {
		if node.name == name {
			return node, nil
		}
		names = append(names, node.name)
	}
	return host{}, usage("no node is called %q: the nodes are %s", name, strings.Join(names, ", "))
}
