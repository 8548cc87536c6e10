package main

import "fmt"

// status prints a line per host.
func status(p paths) error {
	if err := requireUp(p); err != nil {
		return err
	}
	states, err := nodeStates(p)
	if err != nil {
		say("Kubernetes does not answer: %v", err)
	}
	fmt.Printf("%-6s %-12s %-12s %-5s %-9s %s\n", "HOST", "NAMESPACE", "ADDRESS", "ZONE", "MACHINE", "READY")
	for _, h := range hosts() {
		machine, ready := "running", states[h.name]
		if _, alive := initOf(h); !alive {
			machine = "dead"
		} else if !isLinkUp(h) {
			machine = "cut off"
		}
		if !h.isNode() {
			ready = map[bool]string{true: "True", false: "False"}[err == nil]
		}
		fmt.Printf("%-6s %-12s %-12s %-5s %-9s %s\n", h.name, h.namespace(), h.address(), h.zone, machine, ready)
	}
	return nil
}
