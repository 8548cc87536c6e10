//! The Quorate sidecar.

fn main() {}
