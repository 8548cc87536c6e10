//! What `make` runs: the test suites, the demo and the idle measurements.
//!
//! These programs start other programs and say what they are doing meanwhile. They depend on nothing of ours
//! but the table of mutants, so that they are built within seconds and can report on a tree that does not compile.

pub mod bed;
pub mod binaries;
pub mod command;
pub mod count;
pub mod images;
pub mod loopback;
pub mod mutants;
pub mod usage;
