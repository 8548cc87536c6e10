//! The bank's state machine: accounts in one text file, with the index of the last transfer that is in them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    /// The last entry that is applied.
    pub(crate) applied: u64,
    balances: BTreeMap<String, u64>,
    path: PathBuf,
}

impl Accounts {
    /// Those in the file, or none.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let mut accounts = Self { path: path.to_owned(), ..Self::default() };
        if path.exists() {
            let text = std::fs::read_to_string(path)?;
            let (applied, balances) =
                text.split_once('\n').context("the accounts' file has no first line")?;
            accounts.applied = applied.parse()?;
            accounts.balances = parse(balances)?;
        }
        Ok(accounts)
    }

    /// Applies one entry, and says what it came to. It looks at nothing but the entry and the accounts, so that every
    /// replica comes to the same.
    pub(crate) fn apply(&mut self, index: u64, entry: &[u8]) -> String {
        self.applied = index;
        let text = String::from_utf8_lossy(entry);
        let words: Vec<&str> = text.split_whitespace().collect();
        match words[..] {
            ["deposit", name, amount] => self.deposit(name, amount),
            ["transfer", from, to, amount] => self.transfer(from, to, amount),
            _ => format!("not understood: {text}"),
        }
    }

    /// Makes it durable: the file is the old one or the new one, whatever happens.
    pub(crate) fn save(&self) -> anyhow::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(format!("{}\n{}", self.applied, self.text()).as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        // The new name is durable once its directory is.
        let directory = self.path.parent().context("the accounts' file is in no directory")?;
        File::open(directory)?.sync_all()?;
        Ok(())
    }

    /// Takes a snapshot in place of what is there.
    pub(crate) fn restore(&mut self, snapshot: &Path, index: u64) -> anyhow::Result<()> {
        self.balances = parse(&std::fs::read_to_string(snapshot)?)?;
        self.applied = index;
        self.save()
    }

    /// A line for each account: what a snapshot holds.
    pub(crate) fn text(&self) -> String {
        self.balances.iter().fold(String::new(), |mut text, (name, balance)| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name} {balance}");
            text
        })
    }

    fn deposit(&mut self, name: &str, amount: &str) -> String {
        let balance = self.balance(name);
        let Some(balance) = amount.parse().ok().and_then(|amount: u64| balance.checked_add(amount)) else {
            return format!("refused: {amount} cannot be added to the {balance} of {name}");
        };
        self.balances.insert(name.to_owned(), balance);
        format!("{name} has {balance}")
    }

    fn transfer(&mut self, from: &str, to: &str, amount: &str) -> String {
        let (balance, theirs) = (self.balance(from), self.balance(to));
        let parsed: Option<u64> = amount.parse().ok();
        let Some(left) = parsed.and_then(|amount| balance.checked_sub(amount)) else {
            return format!("refused: {from} has {balance}");
        };
        // Looked at before anything changes: nobody loses what the other cannot take.
        if from != to && parsed.and_then(|amount| theirs.checked_add(amount)).is_none() {
            return format!("refused: {amount} cannot be added to the {theirs} of {to}");
        }
        self.balances.insert(from.to_owned(), left);
        self.deposit(to, amount)
    }

    fn balance(&self, name: &str) -> u64 {
        self.balances.get(name).copied().unwrap_or(0)
    }
}

fn parse(text: &str) -> anyhow::Result<BTreeMap<String, u64>> {
    let account = |line: &str| {
        let (name, balance) = line.split_once(' ').with_context(|| format!("no account: {line}"))?;
        Ok((name.to_owned(), balance.parse()?))
    };
    text.lines().map(account).collect()
}
