//! Promises to users, shown on a real Kubernetes: one file per promise, each opening with what the user does and sees.
//!
//! ```text
//!   bed          who may disturb whom; kubectl and helm; the one installation of the operator
//!   namespace    a namespace per test, under the restricted Pod Security Standard
//!   cluster      a RaftCluster as a sentence, and waiting for what its status says
//!   history      every status a cluster ever showed, for promises about what never happens
//!   load         visitors at every member all the time, none of whom may be forgotten
//!   page         a page of the docs, followed word for word
//!   small_disk   a volume that really fills up
//! ```
//!
//! Run by `make test` inside the test bed (`target/bed/bed exec cargo test ...`): KUBECONFIG is set, Pod addresses answer.
//! Every wait has a deadline and prints the last state seen. Not here: rules that a smaller crate can show by itself.

mod bed;
mod cluster;
mod history;
mod load;
mod namespace;
mod page;
mod small_disk;
mod wait;

mod brings_certificates;
mod chaos;
mod cuts_a_node;
mod fails_alone;
mod fences_a_member;
mod follows_the_leader;
mod follows_the_runbooks;
mod forms_and_scales;
mod goes_one_by_one;
mod grows_volumes;
mod hibernates;
mod installs;
mod is_locked_down;
mod is_used_from_outside;
mod keeps_an_applications_log;
mod kills_the_operator;
mod loses_a_volume;
mod loses_the_leader_pod;
mod recovers_a_lost_quorum;
mod refuses_bad_specs;
mod replaces_a_member;
mod rolls_out;
mod rotates_certificates;
mod stands_by;
mod survives_mistakes;
mod tells_the_truth;
mod upgrades_by_new_members;
mod writes_status;
