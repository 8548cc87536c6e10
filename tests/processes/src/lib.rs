//! Real members on this machine: `quorate-sidecar run` as processes of their own, real certificates, redb on disk, gRPC
//! on loopback, formed into a cluster as the operator forms it.
//!
//! | part | what it is |
//! |---|---|
//! | `member`, `ports` | one process and what a Pod would give it |
//! | `cluster`, `operator` | several of them under one authority |
//! | `story`, `wait` | what happened so far, printed when it ends badly; waiting with a deadline |
//!
//! `tests/process` breaks them; `make measure` looks at them while nothing happens; `make bench` loads them. Whatever ends
//! those, also a kill, ends the processes. What cannot be done is a panic, as in the tests they were written for.
#![allow(clippy::unwrap_used)] // A failed step of a test is a failed test; helpers are no #[test] themselves.

pub mod cluster;
pub mod member;
pub mod operator;
pub mod ports;
pub mod story;
pub mod wait;
