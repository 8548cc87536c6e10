//! `quorate-sidecar run`: one member, until a signal or a failure.
//!
//! Start order: certificates, store, ports, driver. A failure says which exit code it means (K39).

use quorate_raft::Settings;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use crate::args::RunArgs;
use crate::exit::{Code, Failure};
use crate::member::Member;
use crate::settings::{Addresses, MemberSettings, member_settings};
use crate::tls::{CredentialsFiles, follow};

/// Runs until SIGTERM or SIGINT (then everything ended in order) or until the member can't go on.
pub async fn run(args: &RunArgs) -> Result<(), Failure> {
    let mut terminate = signals(SignalKind::terminate())?;
    let mut interrupt = signals(SignalKind::interrupt())?;
    let credentials = follow(CredentialsFiles::new(args.tls_dir.clone()))
        .map_err(|error| Failure::new(Code::Usage, error))?;
    let settings = member_settings(args, credentials)?;
    info!(cluster = args.cluster, namespace = args.namespace, "quorate-sidecar");
    let addresses = Addresses::of_run(args);
    let mut member = Member::start(settings.clone(), &addresses).await?;
    loop {
        tokio::select! {
            failure = member.failed() => {
                // The store has said its last word; nothing durable is lost by ending at once.
                member.abort().await;
                return Err(failure);
            }
            request = member.recovery_wanted() => {
                info!(epoch = ?request.epoch, "starting anew, to recover the quorum");
                member.abort().await;
                let recovering = MemberSettings { recovery: Some(request), ..settings.clone() };
                member = Member::start_again(recovering, &addresses, Settings::default()).await?;
            }
            _ = terminate.recv() => {
                info!("asked to stop");
                break;
            }
            _ = interrupt.recv() => {
                info!("interrupted");
                break;
            }
        }
    }
    tokio::select! {
        () = member.stop() => Ok(()),
        // Who asks twice wants it now; what is durable stays.
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

fn signals(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    signal(kind)
        .map_err(|error| Failure::new(Code::Unavailable, format!("cannot listen for signals: {error}")))
}
