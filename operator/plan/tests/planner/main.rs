//! Tests of the planner: stories, invariants over many states, convergence of a small world, rendered children.

mod children;
mod convergence;
mod exhaustive;
mod properties;
mod status_table;
mod stories;
mod world;
