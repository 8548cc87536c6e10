//! The command line.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

use crate::controller;
use crate::installation::Installation;
use crate::lease::{HeldLease, LeaseSettings};
use crate::limits::{API_TIMEOUT, BACKOFF_MIN, SHUTDOWN_TIMEOUT, START_PATIENCE};
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::ops::{self, Ops};
use crate::round::Context;
use crate::turn::Turn;

/// The Quorate operator: turns `RaftCluster` resources into Raft clusters and keeps them so.
#[derive(Debug, Parser)]
#[command(name = "quorate-operator", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Works until it is told to stop.
    Run(Box<Run>),
    /// Prints the definition of `RaftCluster`, for `kubectl apply -f -`.
    Crd,
}

#[derive(Debug, clap::Args)]
struct Run {
    #[command(flatten)]
    installation: Installation,
    #[command(flatten)]
    lease: LeaseSettings,
    /// How log lines are written.
    #[arg(long, env = "QUORATE_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// Exit code of sysexits for a service that is missing; the kubelet starts the process again.
const UNAVAILABLE: u8 = 69;

/// Does what the command line says.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Crd => print_crd(),
        Command::Run(run) => {
            log_to_stderr(run.log_format);
            match start(*run) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    error!("{error:#}");
                    ExitCode::from(UNAVAILABLE)
                }
            }
        }
    }
}

fn print_crd() -> ExitCode {
    match std::io::stdout().write_all(quorate_crds::crd_yaml().as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader went away, as `head` does.
        Err(_) => ExitCode::FAILURE,
    }
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(false).init(),
        LogFormat::Json => lines.json().init(),
    }
}

#[tokio::main]
async fn start(run: Run) -> anyhow::Result<()> {
    let mut config = Config::infer().await.context("no way to reach the Kubernetes API")?;
    config.connect_timeout = Some(API_TIMEOUT);
    config.write_timeout = Some(API_TIMEOUT);
    let client =
        Client::try_from(config).context("the Kubernetes API's address or credentials cannot be used")?;
    let metrics = Metrics::new();
    let is_ready = Arc::new(AtomicBool::new(false));
    let ops = tokio::spawn(ops::serve(Ops { metrics: metrics.clone(), is_ready: is_ready.clone() }));
    let lease = ask_for_the_lease(&client, &run.lease).await?;
    is_ready.store(true, Ordering::Relaxed);
    let reporter =
        Reporter { controller: "quorate-operator".to_owned(), instance: Some(run.lease.identity.clone()) };
    let context = Arc::new(Context {
        recorder: Recorder::new(client.clone(), reporter),
        client,
        installation: run.installation,
        metrics,
        memory: Memory::default(),
        turn: Turn::new(),
    });
    info!(version = env!("CARGO_PKG_VERSION"), identity = %run.lease.identity, "started");
    let result = tokio::select! {
        result = work_while_leading(&context, lease) => result,
        served = ops => served.context("serving probes failed")?.context("serving probes failed"),
    };
    info!("stopped");
    result
}

/// An API server that is away for a while is no reason to end: the kubelet would start us again later and later.
async fn ask_for_the_lease(client: &Client, settings: &LeaseSettings) -> anyhow::Result<HeldLease> {
    let started = Instant::now();
    loop {
        match HeldLease::ask(client.clone(), settings).await {
            Err(error) if started.elapsed() < START_PATIENCE => {
                warn!("{error:#}; trying again");
                tokio::time::sleep(BACKOFF_MIN).await;
            }
            answer => return answer,
        }
    }
}

/// Works whenever this replica holds the Lease, until a signal.
async fn work_while_leading(context: &Arc<Context>, mut lease: HeldLease) -> anyhow::Result<()> {
    let stopped = stop_signal()?;
    loop {
        let mut asked_to_stop = stopped.clone();
        tokio::select! {
            _ = asked_to_stop.wait_for(|&stopped| stopped) => break,
            leads = lease.leads.wait_for(|&leads| leads) => {
                leads.context("the lease's task ended")?;
            }
        }
        info!("holding the lease: working");
        context.metrics.leading(true);
        let mut leads = lease.leads.clone();
        let mut asked_to_stop = stopped.clone();
        controller::work(context.clone(), async move {
            tokio::select! {
                _ = asked_to_stop.wait_for(|&stopped| stopped) => {}
                _ = leads.wait_for(|&leads| !leads) => {}
            }
        })
        .await;
        context.metrics.leading(false);
        if *stopped.borrow() {
            break;
        }
        anyhow::ensure!(!lease.has_ended(), "the lease's task ended");
        anyhow::ensure!(!*lease.leads.borrow(), "a watch ended by itself");
        warn!("lost the lease: standing by");
    }
    tokio::time::timeout(SHUTDOWN_TIMEOUT, lease.release())
        .await
        .context("releasing the lease took too long")?
}

/// Turns true at SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<watch::Receiver<bool>> {
    let (sender, receiver) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // Nobody listens any more: the process is ending already.
        let _ = sender.send(true);
        sender.closed().await;
    });
    Ok(receiver)
}
