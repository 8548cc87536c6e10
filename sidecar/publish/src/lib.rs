//! The leader's view into Kubernetes.
