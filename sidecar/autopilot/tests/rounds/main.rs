//! Autopilot round by round: the numbered vectors of `autopilot.md` §2, then each acceptance point as a story.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

mod complaints;
mod deviations;
mod group;
mod health;
mod promotion;
mod properties;
mod removal;
mod safety;
mod sentences;
mod settings;
mod upgrade;
mod vectors;
mod version;
mod zones;
