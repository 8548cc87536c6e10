//! The planner's rules, one noun a file. Each is a function of the round that ends it or lets the next rule try.

pub(crate) mod bootstrap;
pub(crate) mod broken;
pub(crate) mod expand;
pub(crate) mod fence;
pub(crate) mod grow;
pub(crate) mod hibernate;
pub(crate) mod join;
pub(crate) mod leave;
pub(crate) mod lost;
pub(crate) mod recover;
pub(crate) mod replace;
pub(crate) mod rollout;
pub(crate) mod shrink;
pub(crate) mod start;
pub(crate) mod stop;
