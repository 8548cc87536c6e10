// Command pause is process 1 of every Pod's sandbox: it holds the Pod's namespaces open and does nothing else.
//
// Containers of a Pod do not share a PID namespace here, so there are no orphans for it to reap.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	<-stop
}
