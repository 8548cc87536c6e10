//! Tests of the planner: stories, invariants over many states, convergence of a small world, rendered children.

// Helpers of tests fail a test by panicking, as tests do.
#![allow(clippy::expect_used, clippy::format_collect, clippy::too_many_lines)]

mod children;
mod convergence;
mod exhaustive;
mod glossary;
mod guards;
mod properties;
mod replacing;
mod status_table;
mod stories;
mod world;
mod zones;
