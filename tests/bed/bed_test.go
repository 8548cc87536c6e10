package bed

import (
	"bufio"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var withBed = flag.Bool("bed", false, "bring a bed up, try everything on it, take it down (root; it must be down before)")

// tool is the bed tool under test.
type tool struct {
	t    *testing.T
	path string
}

func (b tool) try(arguments ...string) (string, error) {
	output, err := exec.Command(b.path, arguments...).CombinedOutput()
	return strings.TrimSpace(string(output)), err
}

func (b tool) run(arguments ...string) string {
	b.t.Helper()
	output, err := b.try(arguments...)
	if err != nil {
		b.t.Fatalf("bed %s: %v\n%s", strings.Join(arguments, " "), err, output)
	}
	return output
}

// eventually waits until a command prints what is wanted, and fails with what it printed last.
func (b tool) eventually(limit time.Duration, want string, arguments ...string) {
	b.t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(250 * time.Millisecond) {
		output, err := b.try(arguments...)
		if err == nil && output == want {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("bed %s: after %v still %q (%v), want %q", strings.Join(arguments, " "), limit, output, err, want)
		}
	}
}

// step is a part of the story; its time is printed.
func (b tool) step(what string, body func(b tool)) {
	b.t.Helper()
	start := time.Now()
	passed := b.t.Run(what, func(t *testing.T) { body(tool{t, b.path}) })
	b.t.Logf("%6.1fs  %s", time.Since(start).Seconds(), what)
	if !passed {
		b.t.FailNow() // What follows builds on it.
	}
}

const (
	readyOf      = `jsonpath={.status.conditions[?(@.type=="Ready")].status}`
	readyMembers = `jsonpath={.status.readyReplicas}`
)

// One story and not many tests, because a bed is one thing: each step needs the ones before it.
func TestBedRunsWhatAClusterNeedsSurvivesItsFaultsAndLeavesNothing(t *testing.T) {
	if !*withBed {
		t.Skip("needs root and a machine to itself: go test -run Bed -bed -v .")
	}
	if os.Geteuid() != 0 {
		t.Skip("the bed needs root")
	}
	b := tool{t, filepath.Join(t.TempDir(), "bed")}
	if output, err := exec.Command("go", "build", "-buildvcs=false", "-o", b.path, "./cmd/bed").CombinedOutput(); err != nil {
		t.Fatalf("cannot build the tool: %v\n%s", err, output)
	}
	if _, err := b.try("status"); err == nil {
		t.Fatal("a bed is up, perhaps somebody works on it: `bed down` first")
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("the bed stays up for you to look at; `bed down` when done")
			return
		}
		_, _ = b.try("down")
	})

	b.step("an up that was killed in the middle is cleaned up by the next", killedUp)
	b.step("up on a running bed does nothing", func(b tool) {
		start := time.Now()
		b.run("up")
		if took := time.Since(start); took > 5*time.Second {
			b.t.Errorf("took %v", took)
		}
	})
	b.step("an image of ours is on every node", loadWeb)
	b.step("three restricted Pods with native sidecars and volumes become ready", func(b tool) {
		b.run("kubectl", "apply", "-f", "testdata/web.yaml")
		b.eventually(2*time.Minute, "3", "kubectl", "-n", "bed-test", "get", "statefulset", "web", "-o", readyMembers)
	})
	b.step("names, Services, Pod addresses, exec, logs and zone labels work", talk)
	b.step("Helm 3 and Helm 4 install a chart", func(b tool) {
		for _, helm := range []string{"helm", "helm4"} {
			b.run(helm, "install", "release-"+helm, "testdata/chart", "--namespace", "bed-test")
			version := b.run("kubectl", "-n", "bed-test", "get", "configmap", "release-"+helm, "-o", "jsonpath={.data.kubernetes}")
			if !strings.HasPrefix(version, "v1.") {
				b.t.Errorf("%s sees Kubernetes %q", helm, version)
			}
			b.run(helm, "uninstall", "release-"+helm, "--namespace", "bed-test")
		}
	})
	b.step("the audit log says who asked for what", audit)
	b.step("a paused container is not ready, a resumed one is; a killed one is restarted", pauseAndKill)
	b.step("a node that is cut off is not ready, and ready when healed", func(b tool) {
		node := nodeOf(b, "web-1")
		b.run("cut", node)
		b.eventually(time.Minute, "Unknown", "kubectl", "get", "node", node, "-o", readyOf)
		b.run("heal", node)
		b.eventually(time.Minute, "True", "kubectl", "get", "node", node, "-o", readyOf)
		b.eventually(time.Minute, "3", "kubectl", "-n", "bed-test", "get", "statefulset", "web", "-o", readyMembers)
	})
	b.step("a dead node comes back with what was on its disk", reboot)
	b.step("up repairs what a test left broken", func(b tool) {
		b.run("kill-node", "n0")
		b.run("cut", "n1")
		b.run("up")
		if output := b.run("status"); strings.Contains(output, "dead") || strings.Contains(output, "cut off") {
			b.t.Errorf("not repaired:\n%s", output)
		}
	})
	b.step("down leaves no process, mount, namespace, cgroup or state", downLeavesNothing)
}

func killedUp(b tool) {
	command := exec.Command(b.path, "up")
	talk, err := command.StderrPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		b.t.Fatal(err)
	}
	for lines := bufio.NewScanner(talk); lines.Scan(); {
		if strings.Contains(lines.Text(), "starting the control plane") {
			break
		}
	}
	if err := command.Process.Kill(); err != nil {
		b.t.Fatal(err)
	}
	_ = command.Wait()
	if output, err := b.try("kubectl", "get", "nodes"); err == nil || !strings.Contains(output, "run `bed up`") {
		b.t.Errorf("a bed that is not whole answered: %s", output)
	}
	b.t.Log("\n" + b.run("up"))
}

func loadWeb(b tool) {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		b.t.Fatal(err)
	}
	archive := filepath.Join(b.t.TempDir(), "web.tar")
	b.run("image", archive, "localhost/bed-test-web:1", "--entrypoint", "/bin/busybox", busybox+"=/bin/busybox")
	b.run("load-image", archive)
	for _, node := range []string{"n0", "n1", "n2", "n3"} {
		images := b.run("on", node, "ctr", "--address", "/run/containerd/containerd.sock", "--namespace", "k8s.io", "images", "list", "--quiet")
		if !strings.Contains(images, "localhost/bed-test-web:1") {
			b.t.Errorf("node %s has only:\n%s", node, images)
		}
	}
}

func talk(b tool) {
	inPod := func(arguments ...string) []string {
		return append([]string{"kubectl", "-n", "bed-test", "exec", "web-0", "-c", "web", "--", "/bin/busybox"}, arguments...)
	}
	b.eventually(20*time.Second, "web-1", inPod("wget", "-q", "-O", "-", "http://web-1.web.bed-test.svc.cluster.local:8080/")...)
	if page := b.run(inPod("wget", "-q", "-O", "-", "http://front.bed-test/")...); !strings.HasPrefix(page, "web-") {
		b.t.Errorf("the Service answered %q to a Pod", page)
	}
	if page := b.run("exec", "busybox", "wget", "-q", "-O", "-", "http://web-2.web.bed-test.svc.cluster.local:8080/"); page != "web-2" {
		b.t.Errorf("web-2 answered %q beside the API server", page)
	}
	if page := b.run("exec", "busybox", "wget", "-q", "-O", "-", "http://front.bed-test.svc.cluster.local/"); !strings.HasPrefix(page, "web-") {
		b.t.Errorf("the Service answered %q beside the API server", page)
	}
	if output, err := b.try(inPod("nslookup", "example.com")...); err == nil {
		b.t.Errorf("there is a world outside: %s", output)
	}
	if user := b.run(inPod("id", "-u")...); user != "65532" {
		b.t.Errorf("the Pod runs as %s", user)
	}
	if logs := b.run("kubectl", "-n", "bed-test", "logs", "web-2", "-c", "web"); !strings.Contains(logs, "response:200") {
		b.t.Errorf("web-2 logged %q", logs)
	}
	zone := b.run("kubectl", "get", "node", nodeOf(b, "web-0"), "-o", `jsonpath={.metadata.labels.topology\.kubernetes\.io/zone}`)
	copied := b.run("kubectl", "-n", "bed-test", "get", "pod", "web-0", "-o", `jsonpath={.metadata.labels.topology\.kubernetes\.io/zone}`)
	if zone == "" || zone != copied {
		b.t.Errorf("the node is in zone %q, its Pod says %q", zone, copied)
	}
}

func audit(b tool) {
	run := strings.Fields(b.run("path"))[3]
	log, err := os.ReadFile(filepath.Join(run, "cp", "log", "audit.log"))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, line := range strings.Split(string(log), "\n") {
		if strings.Contains(line, `"verb":"create"`) && strings.Contains(line, `"username":"admin"`) && strings.Contains(line, `"resource":"statefulsets"`) {
			return
		}
	}
	b.t.Errorf("no line says that the administrator created the StatefulSet, in %d bytes", len(log))
}

func pauseAndKill(b tool) {
	node := nodeOf(b, "web-0")
	members := []string{"kubectl", "-n", "bed-test", "get", "statefulset", "web", "-o", readyMembers}
	b.run("pause-container", node, "bed-test/web-0", "web")
	b.eventually(30*time.Second, "2", members...)
	b.run("resume-container", node, "bed-test/web-0", "web")
	b.eventually(30*time.Second, "3", members...)
	b.run("kill-container", node, "bed-test/web-0", "sidecar")
	b.eventually(30*time.Second, "1", "kubectl", "-n", "bed-test", "get", "pod", "web-0", "-o", `jsonpath={.status.initContainerStatuses[?(@.name=="sidecar")].restartCount}`)
	b.eventually(30*time.Second, "3", members...)
}

func reboot(b tool) {
	node := nodeOf(b, "web-2")
	page := []string{"exec", "timeout", "3", "busybox", "wget", "-q", "-O", "-", "http://web-2.web.bed-test.svc.cluster.local:8080/"}
	b.run("kubectl", "-n", "bed-test", "exec", "web-2", "-c", "web", "--", "/bin/busybox", "sh", "-c", "echo kept > /data/index.html")
	b.run("kill-node", node)
	if output, err := b.try(page...); err == nil {
		b.t.Errorf("a Pod of a dead node answered: %s", output)
	}
	b.eventually(time.Minute, "Unknown", "kubectl", "get", "node", node, "-o", readyOf)
	b.run("start-node", node)
	b.eventually(time.Minute, "True", "kubectl", "get", "node", node, "-o", readyOf)
	b.eventually(time.Minute, "3", "kubectl", "-n", "bed-test", "get", "statefulset", "web", "-o", readyMembers)
	b.eventually(20*time.Second, "kept", page...)
}

func downLeavesNothing(b tool) {
	run := strings.Fields(b.run("path"))[3]
	b.run("down")
	if found, _ := filepath.Glob("/run/netns/quorate-*"); len(found) > 0 {
		b.t.Errorf("namespaces: %v", found)
	}
	if found, _ := filepath.Glob("/sys/fs/cgroup/*/quorate-bed"); len(found) > 0 {
		b.t.Errorf("cgroups: %v", found)
	}
	if _, err := os.Stat(run); err == nil {
		b.t.Errorf("%s is still there", run)
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), run) {
		b.t.Errorf("mounts (%v):\n%s", err, mounts)
	}
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range commands {
		if line, err := os.ReadFile(path); err == nil && strings.Contains(string(line), run) {
			b.t.Errorf("still running: %s", strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	if _, err := b.try("down"); err != nil {
		b.t.Errorf("a second down is no error: %v", err)
	}
	if output, err := b.try("kubectl", "get", "nodes"); err == nil || exitCode(err) != 1 {
		b.t.Errorf("kubectl without a bed: %v, %s", err, output)
	}
}

func nodeOf(b tool, pod string) string {
	b.t.Helper()
	return b.run("kubectl", "-n", "bed-test", "get", "pod", pod, "-o", "jsonpath={.spec.nodeName}")
}

func exitCode(err error) int {
	if exit, ok := err.(*exec.ExitError); ok {
		return exit.Sys().(syscall.WaitStatus).ExitStatus()
	}
	return -1
}
