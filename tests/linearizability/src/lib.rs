//! Whether what clients saw of a key could have come from one copy of it (linearizability, Herlihy and Wing).
//!
//! ```text
//!   history   calls of all clients, in the order in which they began and were answered
//!   register  what one key does with one call, as the machine promises it
//!   search    looks for an order of one key's calls that explains every answer (Wing and Gong; Lowe's memory)
//! ```
//! Keys are independent, so that each is searched alone: a history is linearizable exactly if each key's part is.
//! A call without an answer may have taken effect at any time after it began, or not at all.
//!
//! The search is exponential in the worst case. It is bounded, and says when it gave up.

mod history;
mod register;
mod search;
#[cfg(test)]
mod tests;

pub use history::{CallId, History, Key};
pub use register::{Answer, Operation, Value};
pub use search::{Finding, Recorded, search};
