//! The way from the preStop hook to the running member: a socket beside its data (K43).
//!
//! `quorate-sidecar pre-stop` runs in the same container, so a Unix socket needs no port, no token and no
//! certificate: who can open it could as well kill the process. One request per connection, one line each way:
//!
//! ```text
//!   hand-over\n   →   ok db-1-3f2a91c4 leads now\n   |   failed <why>\n
//! ```
//!
//! Not here: anything that changes data. Correctness never needs the hook; it saves an election.

use std::path::Path;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tracing::{debug, info, warn};

use crate::driver::Handle;
use crate::exit::{Code, Failure};
use crate::limits::{CONTROL_REQUEST_BYTES_MAX, HANDOVER_TIMEOUT, PRE_STOP_TIMEOUT};

const HAND_OVER: &str = "hand-over";

/// Opens the socket; one left by an earlier process is replaced (the data directory's lock shows it is dead).
pub fn listen(path: &Path) -> Result<UnixListener, Failure> {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(cannot_open(path, &error));
    }
    UnixListener::bind(path).map_err(|error| cannot_open(path, &error))
}

fn cannot_open(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Code::Unavailable, format!("cannot open the control socket {}: {error}", path.display()))
}

/// Answers requests, one at a time, for as long as the task lives.
pub async fn serve(listener: UnixListener, handle: Handle) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let answered = tokio::time::timeout(PRE_STOP_TIMEOUT, answer(stream, &handle)).await;
                if !matches!(answered, Ok(Ok(()))) {
                    debug!("a request on the control socket was not answered");
                }
            }
            Err(error) => {
                // Out of file descriptors, most likely; trying at once would only burn the CPU.
                warn!(%error, "cannot accept on the control socket");
                tokio::time::sleep(PRE_STOP_TIMEOUT).await;
            }
        }
    }
}

async fn answer(stream: UnixStream, handle: &Handle) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let limit = CONTROL_REQUEST_BYTES_MAX as u64;
    BufReader::new(read.take(limit)).read_line(&mut line).await?;
    let reply = match line.trim_end() {
        HAND_OVER => hand_over(handle).await,
        other => format!("failed unknown request {other:?}"),
    };
    write.write_all(format!("{reply}\n").as_bytes()).await
}

async fn hand_over(handle: &Handle) -> String {
    match handle.hand_over(HANDOVER_TIMEOUT).await {
        Ok(Some(leader)) => {
            info!(%leader, "leadership handed over before stopping");
            format!("ok {leader} leads now")
        }
        Ok(None) => "ok this member does not lead".to_owned(),
        Err(error) => format!("failed {error}"),
    }
}

/// The `pre-stop` subcommand: asks the process that runs on this data directory, and always comes back in
/// time. A failure is printed and is no reason to keep the Pod: correctness never needs this.
pub async fn pre_stop(socket: &Path) -> Result<String, Failure> {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(format!("{HAND_OVER}\n").as_bytes()).await?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await?;
        Ok::<_, std::io::Error>(line.trim_end().to_owned())
    };
    match tokio::time::timeout(PRE_STOP_TIMEOUT, exchange).await {
        Ok(Ok(line)) => match line.split_once(' ') {
            Some(("ok", text)) => Ok(text.to_owned()),
            _ => Err(unavailable(&format!("leadership was not handed over: {line}"))),
        },
        Ok(Err(error)) => {
            Err(unavailable(&format!("cannot ask the member at {}: {error}", socket.display())))
        }
        Err(_) => Err(unavailable("the member did not answer in time")),
    }
}

fn unavailable(message: &str) -> Failure {
    Failure::new(Code::Unavailable, message)
}
