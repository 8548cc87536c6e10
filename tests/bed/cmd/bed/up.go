package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Deadlines of `up`. They are generous: a loaded machine must not make a bed fail that only needs a moment.
const (
	startedWait = 3 * time.Minute
	nodesWait   = 3 * time.Minute
)

// up makes the bed run and be whole, from whatever it finds.
func up(p paths) error {
	if missing := missingPackages(); len(missing) > 0 {
		return coded{exitImpossible, fmt.Sprintf("packages are missing: %s; run: %s (or bed missing --install)", strings.Join(missing, " "), installCommand(missing))}
	}
	if err := refuseForeign(p); err != nil {
		return err
	}
	if err := build(p); err != nil {
		return err
	}
	key, err := os.ReadFile(p.complete())
	_, alive := initOf(controlPlane)
	if err == nil && alive && string(key) == p.cache {
		return repair(p)
	}
	if err := clean(p); err != nil {
		return err
	}
	return start(p)
}

// start makes a bed where there is none.
func start(p paths) error {
	say("preparing keys, configurations and base images in %s", p.run)
	if err := writePKI(p); err != nil {
		return err
	}
	if err := writeBaseImages(p); err != nil {
		return err
	}
	if err := createFabric(); err != nil {
		return err
	}
	say("starting the control plane and %d nodes", len(nodes))
	for _, h := range hosts() {
		if err := bootHost(p, h); err != nil {
			return err
		}
	}
	if err := waitStarted(p, controlPlane); err != nil {
		return err
	}
	say("the control plane is ready")
	if _, err := kubectl(p, "apply", "-f", filepath.Join(p.host(controlPlane), "storage.yaml")); err != nil {
		return err
	}
	if err := waitWhole(p); err != nil {
		return err
	}
	if err := os.WriteFile(p.complete(), []byte(p.cache), 0o644); err != nil {
		return err
	}
	say("the bed is up: %d nodes Ready; try `bed kubectl get nodes`", len(nodes))
	return nil
}

// repair brings back what a test broke: dead nodes are booted, cut ones plugged in.
func repair(p paths) error {
	for _, node := range nodes {
		if _, alive := initOf(node); !alive {
			say("node %s is dead: booting it", node.name)
			if err := startNode(p, node); err != nil {
				return err
			}
		} else if !isLinkUp(node) {
			say("node %s is cut off: healing it", node.name)
			if err := setLink(node, true); err != nil {
				return err
			}
		}
	}
	if err := waitWhole(p); err != nil {
		return err
	}
	say("the bed is up")
	return nil
}

// bootHost gives a host its network and starts it. It does not wait.
func bootHost(p paths, h host) error {
	if err := writeConfiguration(p, h); err != nil {
		return err
	}
	if err := os.RemoveAll(p.started(h)); err != nil {
		return err
	}
	if err := createHost(h); err != nil {
		return err
	}
	return powerOn(p, h)
}

// waitStarted waits until all daemons of a host were started; it does not wait for a host that died.
func waitStarted(p paths, h host) error {
	// A host exists from the moment its process 1 is in its network: give it that long before it counts as dead.
	grace := time.Now().Add(5 * time.Second)
	dead := false
	err := waitFor("host "+h.name, startedWait, func() error {
		if _, err := os.Stat(p.started(h)); err == nil {
			return nil
		}
		if _, alive := initOf(h); !alive && time.Now().After(grace) {
			dead = true
			return nil
		}
		return fmt.Errorf("its last words: %s", lastWords(p, h))
	})
	if dead {
		return failure("host %s died while it started; its last words: %s\nthe logs are in %s", h.name, lastWords(p, h), p.log(h))
	}
	return err
}

// waitWhole waits until every daemon was started and Kubernetes says that every node is Ready.
func waitWhole(p paths) error {
	for _, h := range hosts() {
		if err := waitStarted(p, h); err != nil {
			return err
		}
	}
	awaited := map[string]bool{}
	return waitFor("the cluster", nodesWait, func() error {
		states, err := nodeStates(p)
		if err != nil {
			return err
		}
		var waiting []string
		for _, node := range nodes {
			if states[node.name] != "True" {
				waiting = append(waiting, node.name)
				awaited[node.name] = true
			} else if awaited[node.name] {
				delete(awaited, node.name)
				say("node %s is Ready", node.name)
			}
		}
		if len(waiting) > 0 {
			return fmt.Errorf("not Ready: %s; the logs are in %s/*/log", strings.Join(waiting, " "), p.run)
		}
		// The last thing a new cluster gets: without it no Pod is admitted.
		_, err = kubectl(p, "get", "serviceaccount", "default")
		return err
	})
}

// nodeStates is each node's Ready condition as Kubernetes sees it: True, False or Unknown.
func nodeStates(p paths) (map[string]string, error) {
	output, err := kubectl(p, "get", "nodes", "-o", `jsonpath={range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}`)
	if err != nil {
		return nil, err
	}
	states := map[string]string{}
	for _, line := range strings.Split(output, "\n") {
		if name, state, found := strings.Cut(line, " "); found {
			states[name] = state
		}
	}
	return states, nil
}

func lastWords(p paths, h host) []byte {
	content, _ := os.ReadFile(filepath.Join(p.log(h), "init.log"))
	return lastLines(content, 2)
}
