//! Whole-system tests. Seeded simulations are here: of the data path in `simulation/`, of the operator in `operations/`.
//! Lint of our own files is in `tidy/`, a real Kubernetes in `bed/`, what make runs in `suite/`.

mod happenings;
pub mod operations;
pub mod pages;
pub mod search;
pub mod simulation;
