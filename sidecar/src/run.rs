//! `quorate-sidecar run`: one member, until a signal or a failure.
//!
//! Start order: certificates, store, ports, driver. A failure says which exit code it means (K39).

use quorate_raft::Settings;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

use crate::args::RunArgs;
use crate::exit::{Code, Failure};
use crate::member::Member;
use crate::settings::{Addresses, MemberSettings, member_settings};
use crate::tls::{CredentialsFiles, follow};

/// Runs until SIGTERM or SIGINT (then everything ended in order) or until the member can't go on.
pub async fn run(args: &RunArgs) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let credentials = follow(CredentialsFiles::new(args.tls_dir.clone()))
        .map_err(|error| Failure::new(Code::Usage, error))?;
    let settings = member_settings(args, credentials)?;
    info!(cluster = args.cluster, namespace = args.namespace, "quorate-sidecar");
    let addresses = Addresses::of_run(args);
    // Opening files may take long, and leaves them as durable as they were.
    let Some(started) = signals.before(Member::start(settings.clone(), &addresses)).await else {
        return Ok(());
    };
    let mut member = started?;
    loop {
        let request = tokio::select! {
            failure = member.failed() => {
                // The store has said its last word; nothing durable is lost by ending at once.
                member.abort().await;
                return Err(failure);
            }
            request = member.recovery_wanted() => request,
            () = signals.come() => break,
        };
        info!(epoch = ?request.epoch, "starting anew, to recover the quorum");
        member.abort().await;
        let recovering = MemberSettings { recovery: Some(request), ..settings.clone() };
        let again = Member::start_again(recovering, &addresses, Settings::default());
        let Some(started) = signals.before(again).await else { return Ok(()) };
        member = started?;
    }
    // Who asks twice wants it now; what is durable stays.
    let _ = signals.before(member.stop()).await;
    Ok(())
}

/// The signals that ask the process to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(Code::Unavailable, format!("cannot listen for signals: {error}"))
            })
        };
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Resolves when one comes.
    async fn come(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => info!("asked to stop"),
            _ = self.interrupt.recv() => info!("interrupted"),
        }
    }

    /// What comes of `work`; none if a signal came first, which leaves it undone.
    async fn before<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.come() => None,
        }
    }
}
