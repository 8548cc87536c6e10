//! The machine against a plain model, and the stories of single rules.

pub(crate) mod generate;
