//! Whole-system tests. Seeded simulation is here; lint of our own files is in `tidy/`, a real Kubernetes in `bed/`,
//! what make runs in `suite/`.

pub mod simulation;
