//! Whole-system tests: simulation, processes, Kubernetes.
