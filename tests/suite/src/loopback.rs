//! Three sidecars as plain processes on loopback, held by a program of `tests/processes`: this crate depends on none of
//! ours.

use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result, bail};

use crate::binaries::target;
use crate::command::command;

/// What each answer of the holder begins with.
const ANSWER: &str = "members:";

/// Members that run; they end with this, and with whatever ends this program.
pub struct Loopback {
    holder: Child,
    /// Open for as long as they are to run.
    questions: Option<ChildStdin>,
    said: Lines<BufReader<ChildStdout>>,
}

/// One of them.
#[derive(Debug, PartialEq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// The number of its process.
    pub pid: u32,
    /// Whether it leads.
    pub leads: bool,
}

impl Loopback {
    /// Starts members of the sidecar built with `profile`, and waits until all vote.
    pub fn form(profile: &str) -> Result<(Self, Vec<Member>)> {
        let program = target().join(profile).join("quorate-sidecar");
        let holder = target().join("bed/loopback");
        let mut holder = command(&[&holder.to_string_lossy(), &program.to_string_lossy()])
            // Ctrl-C reaches this program alone. Its end closes the holder's input, and the holder cleans up.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", holder.display()))?;
        let questions = holder.stdin.take();
        let said = BufReader::new(holder.stdout.take().context("the holder's output")?).lines();
        let mut loopback = Self { holder, questions, said };
        let members = loopback.answer()?;
        Ok((loopback, members))
    }

    /// Who they are, and who leads now.
    pub fn members(&mut self) -> Result<Vec<Member>> {
        if let Some(questions) = &mut self.questions {
            writeln!(questions, "who?").context("asking the members' holder")?;
        }
        self.answer()
    }

    /// What else the holder says is for a person: why it could not go on.
    fn answer(&mut self) -> Result<Vec<Member>> {
        for line in self.said.by_ref() {
            let line = line.context("reading what the members' holder says")?;
            match line.strip_prefix(ANSWER) {
                Some(answer) => return members(answer).with_context(|| format!("not understood: {line}")),
                None => println!("{line}"),
            }
        }
        bail!("the program that holds the members ended with {}", self.holder.wait()?)
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        drop(self.questions.take());
        // It may be gone already.
        let _ = self.holder.wait();
    }
}

/// `db-0=4711=follows db-1=4712=leads …`
fn members(answer: &str) -> Option<Vec<Member>> {
    let member = |word: &str| {
        let (name, rest) = word.split_once('=')?;
        let (pid, role) = rest.split_once('=')?;
        Some(Member { name: name.to_owned(), pid: pid.parse().ok()?, leads: role == "leads" })
    };
    answer.split_whitespace().map(member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_who_the_members_are() {
        let member = |name: &str, pid, leads| Member { name: name.to_owned(), pid, leads };
        assert_eq!(
            members(" db-0=4711=follows db-1=4712=leads"),
            Some(vec![member("db-0", 4711, false), member("db-1", 4712, true)])
        );
        assert_eq!(members(" db-0=many=leads"), None);
    }
}
