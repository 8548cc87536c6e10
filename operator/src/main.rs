//! The Quorate operator.

fn main() {}
