//! Promises to users, shown on a real Kubernetes: one file per promise, each opening with what the user does and sees.
//!
//! ```text
//!   bed          kubectl and helm; the one installation of the operator
//!   namespace    a namespace per test, under the restricted Pod Security Standard
//!   cluster      a RaftCluster as a sentence, and waiting for what its status says
//! ```
//!
//! Run by `make test` inside the test bed (`target/bed/bed exec cargo test ...`): KUBECONFIG is set, Pod addresses answer.
//! Every wait has a deadline and prints the last state seen. Not here: rules that a smaller crate can show by itself.

mod bed;
mod cluster;
mod namespace;
mod wait;

mod refuses_bad_specs;
mod tells_the_truth;
