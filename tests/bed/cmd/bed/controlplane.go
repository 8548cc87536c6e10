package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// nodeMonitorGrace is how long a node may be silent before it is NotReady. With kubelets reporting every 4 s, a cut
// node shows as NotReady after about 17 s; Kubernetes' own default of 50 s would make every test of it slow.
const nodeMonitorGrace = 16 * time.Second

// controlPlaneDaemons is what runs on the control plane, in order.
func controlPlaneDaemons(p paths) []daemon {
	state := p.host(controlPlane)
	return []daemon{
		{name: "etcd", ready: dials("tcp", "127.0.0.1:2379"), arguments: []string{p.bin("etcd"),
			"--data-dir=" + filepath.Join(state, "etcd"),
			"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
			"--listen-peer-urls=http://127.0.0.1:2380",
			// The bed's own state need not survive the machine; our product's disks do sync.
			"--unsafe-no-fsync", "--log-level=warn"}},
		{name: "kube-apiserver", ready: apiReady(p), arguments: apiServerArguments(p)},
		{name: "kube-controller-manager", arguments: []string{p.bin("kube-controller-manager"),
			"--kubeconfig=" + p.kubeconfig("manager"),
			"--authentication-kubeconfig=" + p.kubeconfig("manager"), "--authorization-kubeconfig=" + p.kubeconfig("manager"),
			"--service-account-private-key-file=" + p.pki("sa.key"), "--root-ca-file=" + p.pki("ca.crt"),
			"--flex-volume-plugin-dir=" + filepath.Join(state, "volume-plugins"),
			"--use-service-account-credentials", "--leader-elect=false",
			// Nodes know their Pod subnets: the CNI configuration and the routes of the bed name them.
			"--allocate-node-cidrs=false", "--cluster-cidr=" + podNetwork,
			"--node-monitor-grace-period=" + nodeMonitorGrace.String(), "--node-monitor-period=2s"}},
		{name: "kube-scheduler", arguments: []string{p.bin("kube-scheduler"),
			"--kubeconfig=" + p.kubeconfig("scheduler"),
			"--authentication-kubeconfig=" + p.kubeconfig("scheduler"), "--authorization-kubeconfig=" + p.kubeconfig("scheduler"),
			"--leader-elect=false"}},
		{name: "coredns", ready: resolves, arguments: []string{p.bin("coredns"), "-conf", filepath.Join(state, "Corefile")}},
		{name: "local-path-provisioner", arguments: []string{p.bin("local-path-provisioner"), "start",
			"--kubeconfig=" + p.kubeconfig("provisioner"),
			"--config=" + filepath.Join(state, "volumes.json"), "--provisioner-name=" + provisionerName,
			"--namespace=" + storageNamespace, "--configmap-name=" + storageScripts, "--service-account-name=default",
			"--helper-image=" + busyboxImage, "--helper-pod-file=" + filepath.Join(state, "helper-pod.yaml")}},
		// Makes Services answer beside the API server, for tests and webhooks. A proxy speaks for a node; which one
		// matters only to Services with a local traffic policy.
		proxyDaemon(p, nodes[0]),
	}
}

func apiServerArguments(p paths) []string {
	state := p.host(controlPlane)
	return []string{p.bin("kube-apiserver"),
		"--etcd-servers=http://127.0.0.1:2379",
		"--bind-address=0.0.0.0", "--advertise-address=" + controlPlane.address(), fmt.Sprintf("--secure-port=%d", apiPort),
		"--tls-cert-file=" + p.pki("apiserver.crt"), "--tls-private-key-file=" + p.pki("apiserver.key"),
		"--client-ca-file=" + p.pki("ca.crt"),
		"--service-cluster-ip-range=" + serviceNetwork,
		"--service-account-issuer=https://kubernetes.default.svc." + clusterDomain, "--api-audiences=https://kubernetes.default.svc." + clusterDomain,
		"--service-account-key-file=" + p.pki("sa.pub"), "--service-account-signing-key-file=" + p.pki("sa.key"),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
		// By address: nothing resolves the names of nodes.
		"--kubelet-preferred-address-types=InternalIP",
		"--kubelet-certificate-authority=" + p.pki("ca.crt"),
		"--kubelet-client-certificate=" + p.pki("apiserver.crt"), "--kubelet-client-key=" + p.pki("apiserver.key"),
		// Who asked for what: tests read it to show what the product did, and what it did not do. At most 192 MB.
		"--audit-policy-file=" + filepath.Join(state, "audit-policy.yaml"),
		"--audit-log-path=" + filepath.Join(p.log(controlPlane), "audit.log"),
		"--audit-log-maxsize=64", "--audit-log-maxbackup=2",
	}
}

// resolves tells whether the cluster's DNS knows the API server's Service.
func resolves() error {
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", net.JoinHostPort(controlPlane.address(), "53"))
	}}
	within, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err := resolver.LookupHost(within, "kubernetes.default.svc."+clusterDomain+".")
	return err
}

// dials tells whether something listens at an address.
func dials(network, address string) func() error {
	return func() error {
		connection, err := net.DialTimeout(network, address, time.Second)
		if err != nil {
			return err
		}
		return connection.Close()
	}
}

// apiReady asks the API server whether it is ready; anyone may ask that, so no identity is needed.
func apiReady(p paths) func() error {
	return func() error {
		authority, err := os.ReadFile(p.pki("ca.crt"))
		if err != nil {
			return err
		}
		trusted := x509.NewCertPool()
		trusted.AppendCertsFromPEM(authority)
		client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: trusted}, DisableKeepAlives: true}}
		response, err := client.Get(apiURL() + "/readyz")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("the API server answers %s", response.Status)
		}
		return nil
	}
}
