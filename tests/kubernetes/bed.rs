//! The test bed: who may disturb whom, the programs that talk to it, and the one installation of the operator.
//!
//! All tests share one bed. Those that only use it run side by side, and first; one that cuts a node or kills the operator
//! has it alone, because the others would see its faults as theirs. All threads are there from the beginning (the suite starts as
//! many as there are tests), so that who may go is decided here: were it the harness that let a few go at a time, each test that
//! wants to be alone would keep a place empty while it waits for the rest.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore, SemaphorePermit, watch};

/// How many tests run side by side. On two cores a cluster of three then forms in about 30 s, where alone it takes 27; eight at once on a
/// busy machine took minutes each, and leaders changed for want of a processor.
const SIDE_BY_SIDE: usize = 4;
/// Their places.
static PLACES: Semaphore = Semaphore::const_new(SIDE_BY_SIDE);
/// Held in common by tests that leave nodes and operator alone, exclusively by those that do not.
static PEACE: RwLock<()> = RwLock::const_new(());
/// How many of the former have not ended yet.
static SHARING: LazyLock<watch::Sender<usize>> = LazyLock::new(|| watch::Sender::new(0));

/// A test's time on the bed, beside others.
pub(crate) struct Beside {
    _place: SemaphorePermit<'static>,
    _peace: RwLockReadGuard<'static, ()>,
    _counted: Counted,
}

/// Counts as one that shares while it exists.
struct Counted;

impl Drop for Counted {
    fn drop(&mut self) {
        SHARING.send_modify(|count| *count -= 1);
    }
}

/// Waits for a place beside others that disturb nobody.
pub(crate) async fn beside_others() -> Result<Beside> {
    SHARING.send_modify(|count| *count += 1);
    let counted = Counted;
    Ok(Beside { _place: PLACES.acquire().await?, _peace: PEACE.read().await, _counted: counted })
}

/// Waits until all that share the bed have ended, and nobody else has it alone.
pub(crate) async fn alone() -> Result<RwLockWriteGuard<'static, ()>> {
    SHARING.subscribe().wait_for(|count| *count == 0).await?;
    Ok(PEACE.write().await)
}

/// Where the operator is installed.
pub(crate) const OPERATOR_NAMESPACE: &str = "quorate-system";
/// The name of its Helm release.
pub(crate) const RELEASE: &str = "quorate";
/// The operator's Lease.
pub(crate) const OPERATOR_LEASE: &str = "quorate-operator";
/// What the tests' images are installed with.
pub(crate) const IMAGES: [&str; 8] = [
    "--set",
    "image.repository=localhost/quorate-operator",
    "--set",
    "image.tag=dev",
    "--set",
    "sidecar.image.repository=localhost/quorate-sidecar",
    "--set",
    "sidecar.image.tag=dev",
];

/// The root of the repository.
pub(crate) fn repository() -> PathBuf {
    // As cargo says it now: clones share one build cache.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let here = Path::new(&here);
    here.parent().unwrap_or(here).to_owned()
}

fn tool() -> PathBuf {
    repository().join("target/bed/bed")
}

/// Runs a program of the bed's (`kubectl`, `helm`, `helm4`) at the repository's root; how it ends is for the caller to judge.
pub(crate) async fn attempt(program: &str, words: &[&str], input: Option<&str>) -> Result<Output> {
    let mut child = Command::new(program)
        .args(words)
        .current_dir(repository())
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting {program}: these tests run inside the bed, see `make test`"))?;
    if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(text.as_bytes()).await?;
    }
    Ok(child.wait_with_output().await?)
}

/// Starts kubectl and returns its lines as they come, and the process, which ends when it is dropped.
pub(crate) fn follow(words: &[&str]) -> Result<(Lines<BufReader<ChildStdout>>, Child)> {
    let mut child = Command::new("kubectl").args(words).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let stdout = child.stdout.take().context("kubectl has an output")?;
    Ok((BufReader::new(stdout).lines(), child))
}

/// Runs a program to a successful end and returns what it printed.
async fn run(program: &str, words: &[&str], input: Option<&str>) -> Result<String> {
    let output = attempt(program, words, input).await?;
    if !output.status.success() {
        bail!("`{program} {}`: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// Runs kubectl to a successful end and returns what it printed.
pub(crate) async fn kubectl(words: &[&str]) -> Result<String> {
    run("kubectl", words, None).await
}

/// The same with a manifest on its standard input.
pub(crate) async fn kubectl_with(words: &[&str], input: &str) -> Result<String> {
    run("kubectl", words, Some(input)).await
}

/// Runs Helm (`helm` or `helm4`) to a successful end and returns what it printed.
pub(crate) async fn helm(program: &str, words: &[&str]) -> Result<String> {
    run(program, words, None).await
}

/// Does something to the bed itself: cut, heal, kill a container, run a command on a node.
pub(crate) async fn fault(words: &[&str]) -> Result<String> {
    run(&tool().to_string_lossy(), words, None).await
}

/// Installs the operator once for all tests.
pub(crate) async fn install_operator() -> Result<()> {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    INSTALLED.get_or_try_init(install).await.copied()
}

async fn install() -> Result<()> {
    kubectl_with(&["apply", "-f", "-"], &restricted_namespace(OPERATOR_NAMESPACE)).await?;
    // The images' tag is always the same. The annotation makes Kubernetes start those that were just loaded.
    let run = SystemTime::now().duration_since(UNIX_EPOCH).context("the machine's clock")?.as_secs();
    let annotation = format!("podAnnotations.tests/run=r{run}");
    let mut words =
        vec!["upgrade", "--install", RELEASE, "charts/quorate", "--namespace", OPERATOR_NAMESPACE];
    words.extend(IMAGES);
    words.extend(["--set", &annotation, "--wait", "--timeout", "5m"]);
    helm("helm", &words).await.context("installing the operator")?;
    Ok(())
}

/// A namespace that admits only Pods of the restricted Pod Security Standard.
pub(crate) fn restricted_namespace(name: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: \
         {{pod-security.kubernetes.io/enforce: restricted}}}}}}"
    )
}

/// Both operators at work. One that ended again and again while its node was cut off is started by the kubelet after
/// minutes only: it is made anew.
pub(crate) async fn operators_ready() -> Result<()> {
    let path =
        "jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].ready}{\"\\n\"}{end}";
    let listed = kubectl(&["-n", OPERATOR_NAMESPACE, "get", "pods", "-o", path]).await?;
    for pod in listed.lines().filter_map(|line| line.strip_suffix(" false")) {
        kubectl(&["-n", OPERATOR_NAMESPACE, "delete", "pod", pod, "--wait=false"]).await?;
    }
    let deployment = ["rollout", "status", "deployment", "quorate-operator", "--timeout=3m"];
    kubectl(&[&["-n", OPERATOR_NAMESPACE], &deployment[..]].concat()).await?;
    Ok(())
}

/// The operator's Pod that holds the Lease, and its node.
pub(crate) async fn acting_operator() -> Result<(String, String)> {
    let of = |words: &'static str| ["-n", OPERATOR_NAMESPACE, "get", "-o", words];
    let mut lease = of("jsonpath={.spec.holderIdentity}").to_vec();
    lease.extend(["lease", OPERATOR_LEASE]);
    let holder = kubectl(&lease).await?;
    let mut pods = of("jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName}{\"\\n\"}{end}").to_vec();
    pods.extend(["pods", "-l", "app.kubernetes.io/component=operator"]);
    let listed = kubectl(&pods).await?;
    listed
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(pod, _)| holder.contains(pod))
        .map(|(pod, node)| (pod.to_owned(), node.to_owned()))
        .with_context(|| format!("no operator Pod holds the Lease (holder {holder:?}):\n{listed}"))
}
