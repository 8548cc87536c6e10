//! A bank that is its own state machine: Quorate orders and keeps the transfers, the bank keeps the accounts in a file.
//!
//! Every replica of it applies the same transfers in the same order, and so has the same accounts; an overdraft is refused
//! by all of them alike, because whether it is one is decided where the transfer is applied and not where it is asked for.
//!
//! ```console
//! $ make dev MODE=log DATA=/tmp/bank                 # in one terminal; in a second and a third a replica each:
//! $ QUORATE_GRPC_ADDR=127.0.0.1:7401 cargo run --profile bed --example bank-log -- /tmp/bank/bank-0
//! $ QUORATE_GRPC_ADDR=127.0.0.1:7421 cargo run --profile bed --example bank-log -- /tmp/bank/bank-1
//! deposit alice 100
//! transfer alice bob 30
//! accounts
//! snapshot
//! ```
//!
//! Stop a replica and start it again: it goes on where its file stands. Delete its directory: it gets every transfer again, or,
//! where those are dropped, the snapshot and what came after.

mod accounts;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use accounts::Accounts;
use anyhow::Context;
use quorate_client::{Client, Error, Log, LogEvent};
use tokio::sync::mpsc;

/// Between two tries while the member is away.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

type Shared = Arc<Mutex<Accounts>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let directory =
        std::env::args().nth(1).context("usage: bank-log DIRECTORY (where this replica's accounts are)")?;
    let directory = PathBuf::from(directory);
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let accounts: Shared = Arc::new(Mutex::new(Accounts::open(&directory.join("accounts"))?));
    let log = Client::from_env()?.log();
    let following = tokio::spawn(follow(log.clone(), Arc::clone(&accounts), directory.join("snapshot")));
    tokio::select! {
        stopped = following => stopped?,
        () = converse(&log, &accounts) => Ok(()),
    }
}

/// Applies what was committed, for as long as the program runs.
async fn follow(log: Log, accounts: Shared, snapshot: PathBuf) -> anyhow::Result<()> {
    loop {
        let applied = look(&accounts).applied;
        match follow_from(&log, applied, &accounts, &snapshot).await {
            Err(failed) => match failed.downcast::<Error>() {
                Ok(Error::Unavailable { message }) => {
                    println!("the member is away, trying again: {message}");
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(error) => return Err(error.into()),
                Err(error) => return Err(error),
            },
            Ok(()) => println!("restored a snapshot: applied up to {}", look(&accounts).applied),
        }
    }
}

/// Returns after a snapshot took the place of the accounts.
async fn follow_from(log: &Log, applied: u64, accounts: &Shared, snapshot: &PathBuf) -> anyhow::Result<()> {
    let mut events = log.subscribe(applied).await?;
    loop {
        match events.next().await? {
            LogEvent::Entries(entries) => {
                let applied = {
                    let mut accounts = look(accounts);
                    for entry in entries {
                        println!("{}: {}", entry.index, accounts.apply(entry.index, &entry.data));
                    }
                    accounts.save()?;
                    accounts.applied
                };
                // Only what is durable is said: the cluster may forget it.
                events.applied(applied);
            }
            LogEvent::SnapshotRequired(_) => {
                let file = std::fs::File::create(snapshot)?;
                let restored = log.restore_snapshot(file).await?;
                return look(accounts).restore(snapshot, restored.index);
            }
        }
    }
}

/// Reads commands until the input ends.
async fn converse(log: &Log, accounts: &Shared) {
    println!("deposit NAME AMOUNT | transfer FROM TO AMOUNT | accounts | snapshot");
    let mut lines = input();
    while let Some(line) = lines.recv().await {
        match line.trim() {
            "" => {}
            "accounts" => print!("{}", look(accounts).text()),
            "snapshot" => {
                let (applied, text) = {
                    let accounts = look(accounts);
                    (accounts.applied, accounts.text())
                };
                match log.offer_snapshot(applied, std::io::Cursor::new(text)).await {
                    Ok(taken) => println!("the cluster holds a snapshot of entry {}", taken.index),
                    Err(error) => println!("no snapshot: {error}"),
                }
            }
            command => match log.propose(command.to_owned()).await {
                // What it came to is printed where it is applied, here as everywhere.
                Ok(index) => println!("committed at {index}"),
                Err(error) => println!("not acknowledged: {error}"),
            },
        }
    }
}

/// What is typed. A thread of its own reads it, for whose next line nobody waits when the program ends with an error.
fn input() -> mpsc::Receiver<String> {
    let (lines, typed) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    typed
}

fn look(accounts: &Shared) -> std::sync::MutexGuard<'_, Accounts> {
    accounts.lock().unwrap_or_else(PoisonError::into_inner)
}
