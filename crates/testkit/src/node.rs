//! One node: its directory, its configuration, its process.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};

use crate::cluster::Options;
use crate::ports::NodePorts;
use crate::{Error, ready};

/// Pause between two questions whether a node is ready.
const READY_PAUSE: Duration = Duration::from_millis(50);
/// How much of a log's end is read to find its last line, bytes.
const LOG_TAIL_BYTES: usize = 4096;

/// One node of a [`crate::LocalCluster`].
#[derive(Debug)]
pub struct Node {
    id: u64,
    ports: NodePorts,
    dir: PathBuf,
    binary: PathBuf,
    child: Option<Child>,
}

impl Node {
    /// Writes the node's directory and configuration; starts nothing.
    pub(crate) fn new(id: u64, all: &[NodePorts], options: &Options) -> Result<Self, Error> {
        let ports = all[id as usize - 1];
        let dir = options.dir.join(format!("node-{id}"));
        let node = Self { id, ports, dir, binary: options.binary.clone(), child: None };
        let file = |path: &Path, source| Error::File { path: path.to_owned(), source };
        fs::create_dir_all(&node.dir).map_err(|source| file(&node.dir, source))?;
        let config = node.config_path();
        fs::write(&config, node.config(all, options)).map_err(|source| file(&config, source))?;
        Ok(node)
    }

    fn config(&self, all: &[NodePorts], options: &Options) -> String {
        let NodePorts { client, peer, admin } = self.ports;
        let mut text = options.top_level_config.clone();
        // Paths are quoted as TOML literal strings, which have no escapes.
        let _ = write!(
            text,
            "\n[node]\nid = {}\ndata_dir = '{}'\n\n[client]\nlisten = \"127.0.0.1:{client}\"\n\n\
             [peer]\nlisten = \"127.0.0.1:{peer}\"\n\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n\n\
             [cluster]\nshards = {}\n",
            self.id,
            self.data_dir().display(),
            options.shards,
        );
        for (place, ports) in all.iter().enumerate() {
            let told = options.advertised.as_ref().and_then(|all| all.get(place));
            let client = told.cloned().unwrap_or_else(|| format!("127.0.0.1:{}", ports.client));
            let _ = write!(
                text,
                "\n[[peers]]\nid = {}\npeer = \"127.0.0.1:{}\"\nclient = \"{client}\"\n",
                place + 1,
                ports.peer,
            );
        }
        text.push('\n');
        text.push_str(&options.config);
        text
    }

    /// Its number, from 1.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Where it listens.
    #[must_use]
    pub fn ports(&self) -> NodePorts {
        self.ports
    }

    /// Where clients reach it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.client)
    }

    /// Everything it keeps.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Its configuration file.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.dir.join("config.toml")
    }

    /// What it says, over all its starts.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Its process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Starts its process; does not wait until it is ready.
    ///
    /// # Errors
    /// When it runs already or cannot be started.
    pub fn spawn(&mut self) -> Result<(), Error> {
        let spawn = |source| Error::Spawn { binary: self.binary.clone(), source };
        if self.pid().is_some() {
            return Err(spawn(std::io::Error::other(format!("node {} is running", self.id))));
        }
        let path = self.log_path();
        let log = fs::OpenOptions::new().create(true).append(true).open(&path);
        let log = log.map_err(|source| Error::File { path, source })?;
        let mut command = Command::new(&self.binary);
        command.args(["server", "--until-stdin-closes", "--config"]).arg(self.config_path());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::from(log.try_clone().map_err(spawn)?))
            .stderr(Stdio::from(log));
        // The caller's own settings must not reach the node: its configuration is all here.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("PHALANX_") && name != "PHALANX_LOG" {
                command.env_remove(&*name);
            }
        }
        let child = command.kill_on_drop(true).spawn().map_err(spawn)?;
        if let Some(pid) = child.id() {
            let path = self.dir.join("pid");
            fs::write(&path, pid.to_string()).map_err(|source| Error::File { path, source })?;
        }
        self.child = Some(child);
        Ok(())
    }

    /// Waits until it serves.
    ///
    /// # Errors
    /// [`Error::Exited`] when its process ended, [`Error::NotReady`] after `deadline`.
    pub async fn wait_ready(&mut self, deadline: Duration) -> Result<(), Error> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.exited() {
                return Err(self.exited_error(status));
            }
            match ready::ready(self.ports.admin).await {
                Ok(()) => return Ok(()),
                Err(state) if begin.elapsed() >= deadline => {
                    let seconds = deadline.as_secs();
                    return Err(Error::NotReady { node: self.id, seconds, state, log: self.log_path() });
                }
                Err(_) => tokio::time::sleep(READY_PAUSE).await,
            }
        }
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn kill(&mut self) -> Result<(), Error> {
        if let Some(mut child) = self.child.take() {
            child.kill().await.map_err(|source| Error::Spawn { binary: self.binary.clone(), source })?;
        }
        Ok(())
    }

    /// Asks it to stop gracefully, and waits; after `deadline` it is killed.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn stop(&mut self, deadline: Duration) -> Result<Option<ExitStatus>, Error> {
        let Some(mut child) = self.child.take() else { return Ok(None) };
        drop(child.stdin.take());
        let failed = |source| Error::Spawn { binary: self.binary.clone(), source };
        match tokio::time::timeout(deadline, child.wait()).await {
            Ok(status) => Ok(Some(status.map_err(failed)?)),
            Err(_) => {
                child.kill().await.map_err(failed)?;
                Ok(None)
            }
        }
    }

    /// Removes everything it kept. It must not run.
    ///
    /// # Errors
    /// When files cannot be removed.
    pub fn wipe(&mut self) -> Result<(), Error> {
        let path = self.data_dir();
        match fs::remove_dir_all(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::File { path, source }),
            _ => Ok(()),
        }
    }

    /// How its process ended, if it ended by itself.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    fn exited_error(&self, status: ExitStatus) -> Error {
        let log = self.log_path();
        let bytes = fs::read(&log).unwrap_or_default();
        let tail = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LOG_TAIL_BYTES)..]).into_owned();
        let last_line =
            tail.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("(nothing)").to_owned();
        Error::Exited { node: self.id, status: status.to_string(), log, last_line }
    }
}
