//! Where members are, and where the others look for them (A32).
//!
//! A member that starts elsewhere has a new address; its name leads there a moment later. Whoever knew it at the old one
//! asks the name again only after something it sent there was lost.

use std::collections::BTreeMap;

/// A place; no two members ever have the same one.
pub(crate) type Place = u64;

#[derive(Default)]
pub(crate) struct Addresses {
    newest: Place,
    /// Where each member is.
    actual: BTreeMap<String, Place>,
    /// Where its name leads.
    named: BTreeMap<String, Place>,
    /// Where a sender, the first, last found another.
    found: BTreeMap<(String, String), Place>,
}

impl Addresses {
    /// It is somewhere else from now on, and its name does not say so yet.
    pub(crate) fn move_away(&mut self, name: &str) {
        self.newest += 1;
        self.actual.insert(name.to_owned(), self.newest);
    }

    /// Its name leads to where it is.
    pub(crate) fn publish(&mut self, name: &str) {
        let place = self.place(name);
        self.named.insert(name.to_owned(), place);
    }

    /// Where `from` sends what is for `to`.
    pub(crate) fn look_up(&mut self, from: &str, to: &str) -> Place {
        let named = self.named.get(to).copied().unwrap_or_default();
        *self.found.entry((from.to_owned(), to.to_owned())).or_insert(named)
    }

    /// Whether `to` is there; if not, `from` asks for its name the next time.
    pub(crate) fn reaches(&mut self, from: &str, to: &str, place: Place) -> bool {
        let is_there = place == self.place(to);
        if !is_there {
            self.found.remove(&(from.to_owned(), to.to_owned()));
        }
        is_there
    }

    /// Who never moved is where its name led from the beginning.
    fn place(&self, name: &str) -> Place {
        self.actual.get(name).copied().unwrap_or_default()
    }
}
