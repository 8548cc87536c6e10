package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// writeBaseImages makes the two images the bed itself needs: what holds a Pod's namespaces, and a shell for the
// provisioner's helper Pods (and for tests).
func writeBaseImages(p paths) error {
	if err := os.MkdirAll(p.images(), 0o755); err != nil {
		return err
	}
	pause, err := os.ReadFile(p.bin("pause"))
	if err != nil {
		return err
	}
	err = writeImage(filepath.Join(p.images(), "pause.tar"), image{name: pauseImage, user: nonroot, entrypoint: []string{"/pause"},
		files: []imageFile{{path: "pause", content: pause, mode: 0o755}}})
	if err != nil {
		return err
	}
	busybox, err := os.ReadFile(busyboxPath())
	if err != nil {
		return err
	}
	applets, err := exec.Command(busyboxPath(), "--list").Output()
	if err != nil {
		return fmt.Errorf("cannot ask busybox for its applets: %w", err)
	}
	files := []imageFile{{path: "bin/busybox", content: busybox, mode: 0o755}}
	for _, applet := range strings.Fields(string(applets)) {
		if applet != "busybox" {
			files = append(files, imageFile{path: "bin/" + applet, target: "busybox"})
		}
	}
	// As root, because helper Pods make folders on the node's disk.
	return writeImage(filepath.Join(p.images(), "busybox.tar"), image{name: busyboxImage, user: "0", entrypoint: []string{"/bin/sh"}, files: files})
}

// loadImages puts image archives on every node that is alive; a node booted later keeps what it had.
func loadImages(p paths, files []string) error {
	if len(files) == 0 {
		return usage("name image archives")
	}
	if err := requireUp(p); err != nil {
		return err
	}
	var group sync.WaitGroup
	failures := make([]error, len(nodes))
	for n, node := range nodes {
		if _, alive := initOf(node); !alive {
			say("node %s is dead: it gets no image", node.name)
			continue
		}
		group.Add(1)
		go func() {
			defer group.Done()
			for _, file := range files {
				if err := loadImage(node, file); err != nil {
					failures[n] = err
					return
				}
			}
		}()
	}
	group.Wait()
	return errors.Join(failures...)
}

func loadImage(node host, file string) error {
	archive, err := os.Open(file)
	if err != nil {
		return err
	}
	defer archive.Close()
	line, err := onNode(node, ctrArguments("images", "import", "-"))
	if err != nil {
		return err
	}
	command := exec.Command(line[0], line[1:]...)
	command.Stdin = archive // By standard input: a node does not see every folder of the machine.
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot load %s on node %s: %w: %s", file, node.name, err, bytes.TrimSpace(output))
	}
	return nil
}
