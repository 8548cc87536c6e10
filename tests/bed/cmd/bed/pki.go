package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certificateLife is longer than any bed lives.
const certificateLife = 365 * 24 * time.Hour

// authority signs every certificate of one bed. Its key is made at `up`, is never written down, and is forgotten
// when `up` ends: nobody can make a further identity, and no identity works on another bed.
type authority struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
	pem         []byte
}

// identity is a certificate and its key, in PEM.
type identity struct{ certificate, key []byte }

func newAuthority() (*authority, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "quorate bed"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	certificate, err := sign(template, template, key, key)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(certificate)
	if err != nil {
		return nil, err
	}
	return &authority{key: key, certificate: parsed, pem: encode("CERTIFICATE", certificate)}, nil
}

// issue makes an identity: a user by name and groups, a server by its addresses and names as well.
func (a *authority) issue(user string, groups []string, addresses []net.IP, names []string) (identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return identity{}, err
	}
	certificate, err := sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		IPAddresses: addresses,
		DNSNames:    names,
	}, a.certificate, key, a.key)
	if err != nil {
		return identity{}, err
	}
	encoded, err := encodeKey(key)
	return identity{certificate: encode("CERTIFICATE", certificate), key: encoded}, err
}

func sign(template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().Add(certificateLife)
	return x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
}

func encode(kind string, content []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content})
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	content, err := x509.MarshalPKCS8PrivateKey(key)
	return encode("PRIVATE KEY", content), err
}

// users of the API server that need a kubeconfig; CoreDNS and the provisioner are add-ons that other clusters run
// with roles of their own: here they may do everything, which no test is about.
var users = map[string]struct {
	user   string
	groups []string
}{
	"admin":       {"admin", []string{"system:masters"}},
	"manager":     {"system:kube-controller-manager", nil},
	"scheduler":   {"system:kube-scheduler", nil},
	"proxy":       {"system:kube-proxy", nil},
	"coredns":     {"bed:coredns", []string{"system:masters"}},
	"provisioner": {"bed:local-path-provisioner", []string{"system:masters"}},
	"n0":          {"system:node:n0", []string{"system:nodes"}},
	"n1":          {"system:node:n1", []string{"system:nodes"}},
	"n2":          {"system:node:n2", []string{"system:nodes"}},
	"n3":          {"system:node:n3", []string{"system:nodes"}},
}

// writePKI makes every key of a bed, readable by root alone.
func writePKI(p paths) error {
	if err := os.MkdirAll(p.pki(""), 0o700); err != nil {
		return err
	}
	ca, err := newAuthority()
	if err != nil {
		return err
	}
	files := map[string][]byte{p.pki("ca.crt"): ca.pem}
	// Signs ServiceAccount tokens.
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if files[p.pki("sa.key")], err = encodeKey(signer); err != nil {
		return err
	}
	verifier, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return err
	}
	files[p.pki("sa.pub")] = encode("PUBLIC KEY", verifier)
	issueServer := func(file, user string, groups []string, addresses []net.IP, names []string) error {
		server, err := ca.issue(user, groups, addresses, names)
		files[p.pki(file+".crt")], files[p.pki(file+".key")] = server.certificate, server.key
		return err
	}
	// The API server shows this one to its clients, and to kubelets when someone asks for logs or exec.
	apiAddresses := []net.IP{net.ParseIP(controlPlane.address()), net.ParseIP(serviceAPI), net.ParseIP("127.0.0.1")}
	apiNames := []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + clusterDomain}
	if err := issueServer("apiserver", "kube-apiserver", []string{"system:masters"}, apiAddresses, apiNames); err != nil {
		return err
	}
	for _, node := range nodes {
		if err := issueServer("kubelet-"+node.name, node.name, nil, []net.IP{net.ParseIP(node.address())}, []string{node.name}); err != nil {
			return err
		}
	}
	for name, user := range users {
		client, err := ca.issue(user.user, user.groups, nil, nil)
		if err != nil {
			return err
		}
		files[p.kubeconfig(name)] = kubeconfig(ca.pem, client)
	}
	for path, content := range files {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return fmt.Errorf("cannot write %s: %w", filepath.Base(path), err)
		}
	}
	return nil
}
