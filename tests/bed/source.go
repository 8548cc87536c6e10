// Package bed carries the pinned sources of the test bed's programs inside the bed tool.
//
// The tool writes them into its cache and builds there, so one `bed` binary is all a machine needs, from any
// working directory, and the cache key is the hash of exactly what gets built.
package bed

import "embed"

// Sources is the part of this module that `bed build` compiles: Kubernetes and the pause process.
//
//go:embed go.mod go.sum cmd/kube/main.go cmd/pause/main.go
var Sources embed.FS
