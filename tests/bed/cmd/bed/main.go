// Command bed runs a real Kubernetes of four nodes on one Linux machine: no registry, no Docker, no route out.
//
// The README beside it explains the shape; `bed help` lists the verbs.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// Exit codes. 77 is the customary code of a test that cannot run here (no root, packages missing): its caller counts
// it as skipped.
const (
	exitFailure    = 1
	exitUsage      = 2
	exitImpossible = 77
)

// coded is an error that decides the exit code.
type coded struct {
	code    int
	message string
}

func (c coded) Error() string { return c.message }

func usage(format string, arguments ...any) error {
	return coded{exitUsage, fmt.Sprintf(format, arguments...) + "; `bed help` lists the verbs"}
}

func failure(format string, arguments ...any) error {
	return coded{exitFailure, fmt.Sprintf(format, arguments...)}
}

func requireRoot() error {
	if os.Geteuid() == 0 {
		return nil
	}
	return coded{exitImpossible, "the bed needs root, for network namespaces, containers and mounts: run it with sudo " +
		"(sudo --preserve-env=HOME,PATH keeps your cache), or on a machine that is yours"}
}

var began = time.Now()

// say tells a person what is going on; data goes to standard output, talk to standard error.
func say(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "bed %6.1fs  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, arguments...))
}

// verb is one thing the bed can be told to do.
type verb struct {
	name      string
	arguments string
	help      string
	// needs what is checked before it runs.
	needs need
	run   func(p paths, arguments []string) error
}

type need int

const (
	nothing need = iota
	// cacheLock: it writes the cache or the run folder, one at a time.
	cacheLock
	// root: it enters namespaces of a running bed.
	root
	// rootAndLock: it changes the bed.
	rootAndLock
)

// verbs is the list `bed help` prints; hidden ones have no help.
func verbs() []verb {
	return []verb{
		{"up", "", "build what is missing, start the bed, wait until it is Ready; repairs and heals a running one", rootAndLock, none(up)},
		{"down", "", "stop everything and delete its state; the built programs stay", rootAndLock, none(down)},
		{"status", "", "show every host and whether it works", root, none(status)},
		{"build", "", "build the bed's programs into the cache", cacheLock, none(build)},
		{"missing", "[--install]", "name the Debian packages that are missing, or install them", nothing, func(_ paths, a []string) error { return showMissing(a) }},
		{"image", imageArguments, "write a one-layer image archive", nothing, func(_ paths, a []string) error { return writeImageCommand(a) }},
		{"load-image", "FILE...", "load image archives on every node", rootAndLock, loadImages},
		{"kubectl", "ARGUMENT...", "run kubectl as the administrator", root, tool("kubectl")},
		{"helm", "ARGUMENT...", "run Helm 3", root, tool("helm3")},
		{"helm4", "ARGUMENT...", "run Helm 4", root, tool("helm4")},
		{"exec", "COMMAND...", "run a command beside the API server: KUBECONFIG set; Pod IPs, Services and cluster DNS answer", root, runBeside},
		{"on", "NODE COMMAND...", "run a command on a node, for example iptables", root, runOnNode},
		{"cut", "NODE", "unplug a node: it runs on, unheard", rootAndLock, oneNode(func(_ paths, h host) error { return plug(h, false) })},
		{"heal", "NODE", "plug a node in again", rootAndLock, oneNode(func(_ paths, h host) error { return plug(h, true) })},
		{"kill-node", "NODE", "pull a node's plug: everything on it dies, its disk stays", rootAndLock, oneNode(killNode)},
		{"start-node", "NODE", "boot a dead node again", rootAndLock, oneNode(startNode)},
		{"pause-container", "NODE NAMESPACE/POD CONTAINER", "stop a container's first process (SIGSTOP)", root, signalContainer("SIGSTOP")},
		{"resume-container", "NODE NAMESPACE/POD CONTAINER", "let it go on (SIGCONT)", root, signalContainer("SIGCONT")},
		{"kill-container", "NODE NAMESPACE/POD CONTAINER", "kill it (SIGKILL)", root, signalContainer("SIGKILL")},
		{"pause-api", "", "stop the API server (SIGSTOP): connections stay open and nothing answers", root, none(signalAPIServer(syscall.SIGSTOP))},
		{"resume-api", "", "let it go on (SIGCONT)", root, none(signalAPIServer(syscall.SIGCONT))},
		{"path", "", "print the folders of the cache and of the running bed", nothing, none(showPaths)},
		{initVerb, "HOST", "", nothing, initHost},
		{besideVerb, "COMMAND...", "", nothing, becomeBeside},
	}
}

func none(run func(paths) error) func(paths, []string) error {
	return func(p paths, arguments []string) error {
		if len(arguments) > 0 {
			return usage("unexpected argument %q", arguments[0])
		}
		return run(p)
	}
}

func oneNode(run func(paths, host) error) func(paths, []string) error {
	return func(p paths, arguments []string) error {
		if len(arguments) != 1 {
			return usage("name one node")
		}
		node, err := findNode(arguments[0])
		if err != nil {
			return err
		}
		if err := requireUp(p); err != nil {
			return err
		}
		return run(p, node)
	}
}

func initHost(p paths, arguments []string) error {
	for _, h := range hosts() {
		if len(arguments) == 1 && h.name == arguments[0] {
			return runHost(p, h)
		}
	}
	return usage("no such host: %q", arguments)
}

func showPaths(p paths) error {
	fmt.Printf("cache %s\nrun   %s\n", p.cache, p.run)
	return nil
}

func help() string {
	var out strings.Builder
	out.WriteString("bed: a real Kubernetes of four nodes on one Linux machine\n\n")
	for _, v := range verbs() {
		if v.help != "" {
			fmt.Fprintf(&out, "  bed %s\n        %s\n", strings.TrimSpace(v.name+" "+v.arguments), v.help)
		}
	}
	return out.String()
}

// dispatch runs the verb that the command line names.
func dispatch(arguments []string) error {
	if len(arguments) == 0 {
		return usage("say what to do")
	}
	if name := arguments[0]; name == "help" || name == "--help" || name == "-h" {
		fmt.Print(help())
		return nil
	}
	for _, v := range verbs() {
		if v.name != arguments[0] {
			continue
		}
		if v.needs == root || v.needs == rootAndLock {
			if err := requireRoot(); err != nil {
				return err
			}
		}
		p, err := findPaths()
		if err != nil {
			return err
		}
		if v.needs == cacheLock || v.needs == rootAndLock {
			release, err := lock(p)
			if err != nil {
				return err
			}
			defer release()
		}
		return v.run(p, arguments[1:])
	}
	return usage("unknown verb %q", arguments[0])
}

func main() {
	err := dispatch(os.Args[1:])
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "bed: "+err.Error())
	var exit coded
	if errors.As(err, &exit) {
		os.Exit(exit.code)
	}
	os.Exit(exitFailure)
}
