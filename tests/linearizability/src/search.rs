//! The search for an order of one key's calls that explains every answer (Wing and Gong 1993; Lowe 2017).
//!
//! ```text
//!            began        answered
//!   A          ├─────────────┤
//!   B             ├────┤                 the next in the order is one that began before every answer still due:
//!   C                     ├─────┤        A or B first; C only after B, because B was answered before C began
//!   D                ├───────────── …    without an answer: anywhere after its beginning, or nowhere
//! ```
//! Depth first. Where the search has been (which calls were placed, and what the key then held) is remembered,
//! so that no such point is searched twice.
//!
//! What keeps calls of unknown outcome cheap: one that changes nothing where it could be placed is not placed
//! there, since leaving it open allows more; and a value nobody ever saw is like any other such value, so that of
//! the calls that write one only the earliest is tried.

use std::collections::{BTreeSet, HashSet};

use super::register::{Answer, Operation, Value};

/// Points remembered at most; beyond it the search gives up. About 100 bytes each.
const POINTS_MAX: usize = 400_000;

/// Stands for every value that no answer and no condition names.
const UNSEEN: Value = Value(u32::MAX);

/// One call of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// What was asked.
    pub operation: Operation,
    /// When.
    pub began: u64,
    /// When it was answered, and how; none if its outcome is unknown.
    pub answered: Option<(u64, Answer)>,
}

/// What the search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// There is such an order.
    Linearizable,
    /// There is none.
    Broken {
        /// How many answers could be explained.
        explained: usize,
        /// Of how many.
        answers: usize,
        /// The first answer in time that could not be explained beside them.
        stuck: Recorded,
    },
    /// Unknown: too many points.
    GaveUp,
}

/// Searches one key's calls, which begin with nothing under the key.
pub fn search(calls: &[Recorded]) -> Finding {
    let mut search = Search::new(calls);
    search.run()
}

/// A point of the search.
struct Point {
    /// What the key holds.
    state: Option<Value>,
    /// What may be placed next, and how far that was tried.
    candidates: Vec<Candidate>,
    tried: usize,
    /// What was placed to come here.
    placed: Option<Candidate>,
}

#[derive(Clone, Copy)]
enum Candidate {
    Answered(usize),
    Open(usize),
}

/// A point of the search: calls placed before `first` and behind it, open calls placed, and what the register holds.
type Seen = (usize, Box<[u64]>, Box<[u64]>, Option<Value>);

struct Search {
    /// By beginning.
    answered: Vec<Recorded>,
    open: Vec<Recorded>,
    is_placed: Bits,
    is_open_placed: Bits,
    /// All answered calls before this one are placed.
    first: usize,
    placed: usize,
    seen: HashSet<Seen>,
    /// The most answers explained, and which one then came first.
    furthest: (usize, Option<usize>),
}

impl Search {
    fn new(calls: &[Recorded]) -> Self {
        let observed: BTreeSet<Value> = calls.iter().flat_map(names).collect();
        let mut calls = calls.to_vec();
        for call in &mut calls {
            if call.operation.writes().is_some_and(|value| !observed.contains(&value)) {
                call.operation = call.operation.writing(UNSEEN);
            }
        }
        calls.sort_by_key(|call| call.began);
        let (answered, open): (Vec<_>, Vec<_>) = calls.into_iter().partition(|call| call.answered.is_some());
        // A read that nobody heard of says nothing.
        let open: Vec<_> = open.into_iter().filter(|call| call.operation != Operation::Read).collect();
        Self {
            is_placed: Bits::new(answered.len()),
            is_open_placed: Bits::new(open.len()),
            answered,
            open,
            first: 0,
            placed: 0,
            seen: HashSet::new(),
            furthest: (0, None),
        }
    }

    fn run(&mut self) -> Finding {
        let root = Point { state: None, candidates: self.candidates(None), tried: 0, placed: None };
        let mut path = vec![root];
        while self.placed < self.answered.len() {
            let Some(point) = path.last_mut() else { return self.broken() };
            let Some(candidate) = point.candidates.get(point.tried).copied() else {
                let placed = point.placed;
                path.pop();
                if let Some(placed) = placed {
                    self.unplace(placed);
                }
                continue;
            };
            point.tried += 1;
            let (_, state) = self.call(candidate).operation.apply(point.state);
            self.place(candidate);
            if !self.is_new(state) {
                self.unplace(candidate);
                continue;
            }
            if self.seen.len() > POINTS_MAX {
                return Finding::GaveUp;
            }
            let candidates = self.candidates(state);
            path.push(Point { state, candidates, tried: 0, placed: Some(candidate) });
        }
        Finding::Linearizable
    }

    fn broken(&self) -> Finding {
        let (explained, stuck) = self.furthest;
        match stuck.map(|stuck| self.answered[stuck]) {
            Some(stuck) => Finding::Broken { explained, answers: self.answered.len(), stuck },
            None => Finding::Linearizable,
        }
    }

    fn call(&self, candidate: Candidate) -> &Recorded {
        match candidate {
            Candidate::Answered(at) => &self.answered[at],
            Candidate::Open(at) => &self.open[at],
        }
    }

    /// What may come next where the key holds `state`: those with the earliest answers first, calls of unknown
    /// outcome only after them.
    fn candidates(&mut self, state: Option<Value>) -> Vec<Candidate> {
        let mut due = u64::MAX;
        let mut due_call = None;
        let mut found = Vec::new();
        for at in self.first..self.answered.len() {
            let call = &self.answered[at];
            if call.began > due {
                break;
            }
            if self.is_placed.get(at) {
                continue;
            }
            let Some((answered, answer)) = call.answered else { continue };
            if answered < due {
                (due, due_call) = (answered, Some(at));
            }
            if call.operation.apply(state).0 == answer {
                found.push((answered, at));
            }
        }
        if self.placed >= self.furthest.0 {
            self.furthest = (self.placed, due_call);
        }
        // Of those that were looked at before an earlier answer was found, some began after it.
        found.retain(|(_, at)| self.answered[*at].began < due);
        found.sort_unstable();
        let mut candidates: Vec<_> = found.into_iter().map(|(_, at)| Candidate::Answered(at)).collect();
        let mut tried = HashSet::new();
        for at in 0..self.open.len() {
            let Recorded { operation, began, .. } = self.open[at];
            if began > due {
                break;
            }
            if !self.is_open_placed.get(at) && operation.apply(state).1 != state && tried.insert(operation) {
                candidates.push(Candidate::Open(at));
            }
        }
        candidates
    }

    fn place(&mut self, candidate: Candidate) {
        match candidate {
            Candidate::Answered(at) => {
                self.is_placed.set(at, true);
                self.placed += 1;
                while self.first < self.answered.len() && self.is_placed.get(self.first) {
                    self.first += 1;
                }
            }
            Candidate::Open(at) => self.is_open_placed.set(at, true),
        }
    }

    fn unplace(&mut self, candidate: Candidate) {
        match candidate {
            Candidate::Answered(at) => {
                self.is_placed.set(at, false);
                self.placed -= 1;
                self.first = self.first.min(at);
            }
            Candidate::Open(at) => self.is_open_placed.set(at, false),
        }
    }

    /// Whether the search was never at this point. All before `first` are placed and need not be remembered.
    fn is_new(&mut self, state: Option<Value>) -> bool {
        let placed = self.is_placed.from(self.first);
        self.seen.insert((self.first, placed, self.is_open_placed.from(0), state))
    }
}

/// The values that this call's answer or condition names.
fn names(call: &Recorded) -> impl Iterator<Item = Value> + use<> {
    let held = match call.answered {
        Some((_, Answer::Holds(value))) => value,
        _ => None,
    };
    held.into_iter().chain(call.operation.expects())
}

/// A set of small numbers.
struct Bits {
    words: Vec<u64>,
}

impl Bits {
    fn new(count: usize) -> Self {
        Self { words: vec![0; count.div_ceil(64)] }
    }

    fn get(&self, at: usize) -> bool {
        self.words[at / 64] & (1 << (at % 64)) != 0
    }

    fn set(&mut self, at: usize, is_in: bool) {
        let bit = 1 << (at % 64);
        if is_in {
            self.words[at / 64] |= bit;
        } else {
            self.words[at / 64] &= !bit;
        }
    }

    /// The words from the one of `at` on, without zeros at the end.
    fn from(&self, at: usize) -> Box<[u64]> {
        let from = (at / 64).min(self.words.len());
        let words = &self.words[from..];
        let end = words.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
        words[..end].into()
    }
}
