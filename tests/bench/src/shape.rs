//! What is measured: the shapes of load, each the same for both systems.

/// Keys written and read, evenly at random.
pub(crate) const KEYS: u32 = 10_000;
/// Bytes of a value.
pub(crate) const VALUE_BYTES: usize = 256;

/// One shape of load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// What it is called on the command line and in the tables.
    pub(crate) name: &'static str,
    /// What each call is.
    pub(crate) operation: Operation,
    /// Calls under way at once, at most.
    pub(crate) clients: usize,
    /// When calls begin.
    pub(crate) pace: Pace,
}

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Writes, at the leader.
    Write,
    /// Linearizable reads, at all members alike.
    Read,
    /// Reads of what the member asked has, at all members alike.
    StaleRead,
}

/// When a call begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Closed loop: when the caller's last one was answered.
    Closed,
    /// Open loop: at a fixed rate, so many a second, however long answers take.
    Open(u32),
}

/// All of them, in the order they are measured.
pub(crate) const SHAPES: [Shape; 7] = [
    closed("writes-1", Operation::Write, 1),
    closed("writes-16", Operation::Write, 16),
    closed("writes-64", Operation::Write, 64),
    closed("writes-256", Operation::Write, 256),
    // Below what either system can do on two cores, so that what is seen is latency and not a queue that grows.
    Shape {
        name: "writes-2000-a-second",
        operation: Operation::Write,
        clients: 256,
        pace: Pace::Open(2_000),
    },
    closed("reads-64", Operation::Read, 64),
    closed("stale-reads-64", Operation::StaleRead, 64),
];

const fn closed(name: &'static str, operation: Operation, clients: usize) -> Shape {
    Shape { name, operation, clients, pace: Pace::Closed }
}

/// The shapes of these names; all if there are none.
pub(crate) fn named(names: &[String]) -> Result<Vec<Shape>, String> {
    if names.is_empty() {
        return Ok(SHAPES.to_vec());
    }
    let find = |name: &String| {
        let found = SHAPES.into_iter().find(|shape| shape.name == name.as_str());
        found.ok_or_else(|| {
            let known: Vec<_> = SHAPES.iter().map(|shape| shape.name).collect();
            format!("no shape is called {name}; there are {}", known.join(", "))
        })
    };
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_shape_is_refused_with_the_names_of_all() {
        assert_eq!(named(&[]).unwrap().len(), SHAPES.len());
        assert_eq!(named(&["reads-64".to_owned()]).unwrap()[0].operation, Operation::Read);
        let refused = named(&["reads".to_owned()]).unwrap_err();
        assert!(refused.contains("writes-1, writes-16"), "{refused}");
    }
}
