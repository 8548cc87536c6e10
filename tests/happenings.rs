//! What happened in simulated runs, counted: a search that never crashed anybody has shown nothing about crashes.

/// Declares what is worth counting, each with its words, and the counts of it: `Happening` and `Coverage`. What
/// `may_be_missing` is no gap if it never happens.
macro_rules! happenings {
    (may_be_missing: [$($spared:ident),*]; $($(#[$doc:meta])* $name:ident => $words:literal,)*) => {
        /// Something worth counting.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Happening {
            $($(#[$doc])* $name,)*
        }

        const WORDS: &[&str] = &[$($words),*];
        const SPARED: &[Happening] = &[$(Happening::$spared),*];

        /// How often each happened.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Coverage {
            counts: Vec<u64>,
        }

        impl Default for Coverage {
            fn default() -> Self {
                Self { counts: vec![0; WORDS.len()] }
            }
        }

        impl Coverage {
            /// One more.
            pub fn hit(&mut self, happening: Happening) {
                self.add(happening, 1);
            }

            /// Some more.
            pub fn add(&mut self, happening: Happening, count: usize) {
                self.counts[happening as usize] += count as u64;
            }

            /// How often.
            pub fn count(&self, happening: Happening) -> u64 {
                self.counts[happening as usize]
            }

            /// Adds those of another run.
            pub fn take(&mut self, other: &Self) {
                for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
                    *sum += count;
                }
            }
        }

        impl std::fmt::Display for Coverage {
            /// A table, then what never happened: whatever is named there was not tested.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                for (words, count) in WORDS.iter().zip(&self.counts) {
                    writeln!(f, "  {count:>12} {words}")?;
                }
                let is_spared = |at: usize| SPARED.iter().any(|spared| *spared as usize == at);
                let counts = WORDS.iter().zip(&self.counts).enumerate();
                let never: Vec<_> = counts
                    .filter(|(at, (_, count))| **count == 0 && !is_spared(*at))
                    .map(|(_, (words, _))| *words)
                    .collect();
                if never.is_empty() {
                    write!(f, "  everything above happened at least once")
                } else {
                    write!(f, "  never happened: {}", never.join(", "))
                }
            }
        }
    };
}

pub(crate) use happenings;
