package main

import (
	"bytes"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
)

const (
	provisionerName  = "rancher.io/local-path"
	storageNamespace = "local-path-storage"
	storageScripts   = "local-path-config"
)

//go:embed templates
var templateFiles embed.FS

var templates = template.Must(template.New("").Option("missingkey=error").ParseFS(templateFiles, "templates/*"))

// render fills in one of the templates. They are part of this program and their values are plain strings, so an
// error here is a mistake in it.
func render(name string, values map[string]string) []byte {
	var out bytes.Buffer
	if err := templates.ExecuteTemplate(&out, name, values); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func kubeconfig(authority []byte, client identity) []byte {
	encode := base64.StdEncoding.EncodeToString
	return render("kubeconfig.yaml", map[string]string{
		"Server": apiURL(), "Authority": encode(authority), "Certificate": encode(client.certificate), "Key": encode(client.key)})
}

// configuration is every configuration file of a host, by name within its folder.
func configuration(p paths, h host) map[string][]byte {
	state := p.host(h)
	if h.isNode() {
		values := map[string]string{
			"Name": h.name, "State": state, "PKI": p.pki(""), "Socket": containerdSocket, "PauseImage": pauseImage,
			"PodSubnet": h.podSubnet(), "CgroupRoot": cgroupOf(h), "CNI": cniFolder(), "DNS": controlPlane.address(), "ClusterDomain": clusterDomain}
		return map[string][]byte{
			"containerd.toml":  render("containerd.toml", values),
			"cni/bed.conflist": render("cni.conflist", values),
			"kubelet.yaml":     render("kubelet.yaml", values),
		}
	}
	return map[string][]byte{
		"Corefile": render("Corefile", map[string]string{
			"Address": h.address(), "ClusterDomain": clusterDomain, "Kubeconfig": p.kubeconfig("coredns")}),
		"audit-policy.yaml": render("audit-policy.yaml", nil),
		"helper-pod.yaml":   render("helper-pod.yaml", map[string]string{"BusyboxImage": busyboxImage}),
		"storage.yaml": render("storage.yaml", map[string]string{
			"Namespace": storageNamespace, "Scripts": storageScripts, "Provisioner": provisionerName}),
		"volumes.json": volumePaths(p),
		"resolv.conf":  []byte(fmt.Sprintf("nameserver %s\nsearch %s\noptions ndots:2\n", h.address(), clusterDomain)),
	}
}

// volumePaths tells the provisioner where each node keeps its volumes.
func volumePaths(p paths) []byte {
	type entry struct {
		Node  string   `json:"node"`
		Paths []string `json:"paths"`
	}
	var entries []entry
	for _, node := range nodes {
		entries = append(entries, entry{node.name, []string{filepath.Join(p.host(node), "volumes")}})
	}
	content, err := json.MarshalIndent(map[string]any{"nodePathMap": entries}, "", "  ")
	if err != nil {
		panic(err) // Strings can always be encoded.
	}
	return append(content, '\n')
}

// writeConfiguration prepares a host's folder.
func writeConfiguration(p paths, h host) error {
	folders := []string{"log"}
	if h.isNode() {
		folders = append(folders, "cni", "volumes", "volume-plugins", "kubelet")
	}
	for _, folder := range folders {
		if err := os.MkdirAll(filepath.Join(p.host(h), folder), 0o755); err != nil {
			return err
		}
	}
	for name, content := range configuration(p, h) {
		if err := os.WriteFile(filepath.Join(p.host(h), name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
