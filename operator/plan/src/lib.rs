//! The operator's judgement.
