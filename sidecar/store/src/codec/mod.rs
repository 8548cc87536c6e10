//! Bytes on disk: the one place that translates the core's types (K24: every record has a version).
//!
//! `FORMAT.md` draws the files; the decoders here never panic on arbitrary bytes.

pub(crate) mod configuration;
#[cfg(test)]
mod fuzz;
pub(crate) mod meta;
pub(crate) mod record;
pub(crate) mod row;
