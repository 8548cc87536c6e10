//! Real members: `quorate-sidecar run` as processes of their own, real certificates, redb on disk, gRPC on loopback.
//!
//! What the simulator cannot show is shown here: that the sockets, threads, signals and files around the core keep what
//! the core promises when processes are killed and paused, disks fill up, networks part and addresses change.
//!
//! | part | what it is |
//! |---|---|
//! | `tests/processes` | the processes, and the cluster formed of them as the operator forms it |
//! | `load`, `record` | clients at every member, and the history of what they asked and heard |
//! | `bulk` | large values: a state of which a copy takes a while |
//! | `scene` | what most tests begin with |
//! | `story` | the seed and what happened so far, printed when a test fails |
//! | `ground` | mounts of a process's own, for the next two |
//! | `roads` | the network between members: names, and a proxy for each direction |
//! | `disk` | a volume whose size the test says |
//! | `kills`, `pauses`, `partitions`, `moves`, `full_disk`, `stops` | the scenarios |
//!
//! **Seeds.** What breaks, and when, is drawn from a seed; each run draws a new one and prints it. `PROCESS_SEED=n` runs
//! one again. The processes run on a real clock, so that the same seed is the same story, not the same run.
//!
//! **Does it look?** Broken by hand, and found: reads answered without asking the leader, or by a leader that asked
//! nobody; retries applied again; entries committed by the leader's own disk; a log not durable when it says so; elections
//! without pre-vote; names asked once only; no floor of free space, no ballast, a full disk called damage; a stop that
//! waits for a hand-over nobody can take.
//!
//! Not here: lost page cache. What a killed process wrote stays, synced or not; what a loss of power does is for the
//! simulator and the store's own tests.
#![allow(clippy::unwrap_used)] // A failed step of a test is a failed test; its helpers are no #[test] themselves.

mod bulk;
mod disk;
mod full_disk;
mod ground;
mod kills;
mod load;
mod moves;
mod partitions;
mod pauses;
mod record;
mod roads;
mod scene;
mod stops;
mod story;
