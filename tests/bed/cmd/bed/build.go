package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	bed "quorate.dev/tests/bed"
)

// progressEvery is how often a running build says that it still runs.
const progressEvery = 15 * time.Second

// build makes every program of the bed that the cache does not hold yet.
func build(p paths) error {
	var missing []program
	for _, prog := range programs {
		if _, err := os.Stat(p.bin(prog.name)); err != nil {
			missing = append(missing, prog)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if _, err := exec.LookPath("go"); err != nil {
		return fmt.Errorf("cannot build the bed's programs: the go command is not on PATH; install Go 1.25 or later (https://go.dev/dl)")
	}
	var total time.Duration
	for _, prog := range missing {
		total += prog.usually
	}
	say("building %d programs into %s; from nothing on two cores this takes about %v", len(missing), filepath.Dir(p.bin("")), total.Round(time.Minute))
	// What a build that was cut short left.
	leftovers, err := filepath.Glob(filepath.Join(p.cache, "building-*"))
	if err != nil {
		return err
	}
	for _, leftover := range leftovers {
		if err := os.RemoveAll(leftover); err != nil {
			return err
		}
	}
	for _, folder := range []string{"bin", "src", "log"} {
		if err := os.MkdirAll(filepath.Join(p.cache, folder), 0o755); err != nil {
			return err
		}
	}
	if err := writeSources(filepath.Join(p.cache, "src")); err != nil {
		return err
	}
	for i, prog := range missing {
		if err := buildOne(p, prog, fmt.Sprintf("[%d/%d]", i+1, len(missing))); err != nil {
			return err
		}
	}
	return nil
}

// writeSources puts the embedded module where the go command can build it.
func writeSources(folder string) error {
	return fs.WalkDir(bed.Sources, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(folder, path)
		if entry.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		content, err := bed.Sources.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, content, 0o644)
	})
}

// buildOne builds a program beside its place and moves it there last: what is in bin is whole.
func buildOne(p paths, prog program, position string) error {
	scratch, err := os.MkdirTemp(p.cache, "building-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	built := filepath.Join(scratch, prog.name)
	arguments := []string{"build", "-v", "-trimpath", "-buildvcs=false", prog.linkerFlags(), "-o", built, prog.source}
	if prog.installs != "" {
		built = filepath.Join(scratch, prog.installs)
		arguments = []string{"install", "-v", "-trimpath", prog.linkerFlags(), prog.source}
	}
	logPath := filepath.Join(p.cache, "log", prog.name+".log")
	log, err := os.Create(logPath)
	if err != nil {
		return err
	}
	defer log.Close()
	command := exec.Command("go", arguments...)
	command.Dir = filepath.Join(p.cache, "src")
	// Without cgo the binaries are static and no C compiler is needed.
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOBIN="+scratch, "GOFLAGS=", "GOWORK=off")
	command.Stdout, command.Stderr = log, log

	say("%s %s: usually %v", position, prog.what, prog.usually)
	start := time.Now()
	if err := runWithProgress(command, position, logPath, start); err != nil {
		content, _ := os.ReadFile(logPath)
		return fmt.Errorf("cannot build %s: %w\n%s\nthe whole output is in %s", prog.what, err, lastLines(content, 15), logPath)
	}
	for _, alias := range prog.aliases {
		_ = os.Remove(p.bin(alias))
		if err := os.Symlink(prog.name, p.bin(alias)); err != nil {
			return err
		}
	}
	if err := os.Rename(built, p.bin(prog.name)); err != nil {
		return err
	}
	say("%s %s: done in %v", position, prog.what, time.Since(start).Round(time.Second))
	return nil
}

func runWithProgress(command *exec.Cmd, position, logPath string, start time.Time) error {
	if err := command.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-ticker.C:
			// With -v the go command writes a line for each module it fetches and each package it compiles.
			content, _ := os.ReadFile(logPath)
			fetched := bytes.Count(content, []byte("go: downloading"))
			compiled := bytes.Count(content, []byte("\n")) - fetched
			say("%s   %v: %d modules fetched, %d packages compiled", position, time.Since(start).Round(time.Second), fetched, compiled)
		}
	}
}

func lastLines(content []byte, count int) []byte {
	lines := bytes.Split(bytes.TrimSpace(content), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-count):], []byte("\n"))
}
