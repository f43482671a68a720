//! `phalanx dev`: three nodes as child processes, until Ctrl-C.

use std::path::{Path, PathBuf};

use phalanx_testkit::{LocalCluster, Options, Ports};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::DevArgs;
use crate::output::{Failure, Outcome, note};

/// The log of a development node: five segments, so that three nodes on one machine stay modest.
pub const SMALL_WAL: &str = "[wal]\nsegment_bytes = 50331648\nbudget_bytes = 251658240\n";
/// How often the nodes are looked at.
const WATCH_PAUSE: std::time::Duration = std::time::Duration::from_millis(500);

impl From<phalanx_testkit::Error> for Failure {
    fn from(error: phalanx_testkit::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// A directory that was asked for, or a temporary one that goes when this is dropped.
pub struct DataDir {
    path: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl DataDir {
    /// Takes `wanted`, made if need be and absolute, or makes a temporary one.
    pub fn new(wanted: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = wanted else {
            let temporary = tempfile::Builder::new().prefix("phalanx-").tempdir()?;
            return Ok(Self { path: temporary.path().to_owned(), _temporary: Some(temporary) });
        };
        let failed = |error| Failure::new(format!("{}: {error}", path.display()));
        std::fs::create_dir_all(path).map_err(failed)?;
        Ok(Self { path: path.canonicalize().map_err(failed)?, _temporary: None })
    }

    /// Where.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Options for three nodes of this very binary below `dir`.
pub fn options(dir: &Path, ports: Ports) -> Result<Options, Failure> {
    let binary = std::env::current_exe()?;
    Ok(Options { ports, config: SMALL_WAL.to_owned(), ..Options::new(binary, dir) })
}

/// Runs `phalanx dev`.
pub async fn run(args: DevArgs) -> Outcome {
    let data = DataDir::new(args.data.as_deref())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    note("starting three nodes ...");
    let options = options(data.path(), Ports::From(args.port))?;
    let mut cluster = tokio::select! {
        started = LocalCluster::start(&options) => started?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    introduce(&mut cluster, &args, data.path());
    let mut reported = Vec::new();
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            () = tokio::time::sleep(WATCH_PAUSE) => report_ended(&mut cluster, &mut reported)?,
        }
    }
    note("stopping ...");
    cluster.stop().await?;
    Ok(())
}

fn introduce(cluster: &mut LocalCluster, args: &DevArgs, dir: &Path) {
    for node in cluster.nodes() {
        let pid = node.pid().map_or_else(|| "?".to_owned(), |pid| pid.to_string());
        note(&format!(
            "node {}  {}  pid {pid}  log {}",
            node.id(),
            node.address(),
            node.log_path().display()
        ));
    }
    let servers = if args.port == 7420 {
        String::new()
    } else {
        format!("export PHALANX_SERVERS={}\n  ", cluster.addresses().join(","))
    };
    let data = if args.data.is_some() { "kept" } else { "removed at the end; --data DIR keeps it" };
    note(&format!(
        "data in {} ({data})\n\nready. In another terminal:\n\n  {servers}phalanx queue create orders\n  \
         phalanx send orders 'hello'\n  phalanx consume orders --follow\n  phalanx queue info orders\n  \
         phalanx cluster status\n\nKill a node (kill -9 PID) and see that nothing is lost. Ctrl-C stops the cluster.",
        dir.display()
    ));
}

/// Says once of each node that it ended; an error when none is left.
fn report_ended(cluster: &mut LocalCluster, reported: &mut Vec<u64>) -> Outcome {
    for node in cluster.nodes() {
        if let Some(status) = node.exited()
            && !reported.contains(&node.id())
        {
            reported.push(node.id());
            note(&format!("node {} ended ({status}); its log is {}", node.id(), node.log_path().display()));
        }
    }
    if reported.len() == cluster.nodes().len() {
        return Err(Failure::new("no node is left"));
    }
    Ok(())
}
