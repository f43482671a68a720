//! One node: its directory, its configuration, its process.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// A graceful stop may take this long; after it the node is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// One node of a [`super::Cluster`].
pub struct Node {
    id: u64,
    dir: PathBuf,
    data_dir: PathBuf,
    command: Vec<String>,
    environment: Vec<(String, String)>,
    child: Option<Child>,
    is_paused: bool,
    excused_until: Option<Instant>,
}

impl Node {
    /// Writes its configuration; starts nothing.
    pub(super) fn new(
        id: u64,
        dir: &Path,
        data_dir: &Path,
        config: &str,
        mut command: Vec<String>,
        binary: &Path,
    ) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let path = dir.join("config.toml");
        fs::write(&path, config)?;
        command.push(binary.display().to_string());
        command.extend(["server", "--until-stdin-closes", "--config"].map(str::to_owned));
        command.push(path.display().to_string());
        let (dir, data_dir) = (dir.to_owned(), data_dir.to_owned());
        Ok(Self {
            id,
            dir,
            data_dir,
            command,
            environment: Vec::new(),
            child: None,
            is_paused: false,
            excused_until: None,
        })
    }

    /// Its number, from 1.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its configuration, its log.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Everything it keeps.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// What it says, over all its starts.
    pub fn log_path(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Given to its process from the next start on.
    pub fn set_environment(&mut self, name: &str, value: impl Into<String>) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.into()));
    }

    /// For so long a stop by itself is explained by a fault.
    pub fn excuse(&mut self, time: Duration) {
        self.excused_until = Some(Instant::now() + time);
    }

    /// A stop by itself, now, is explained by a fault.
    pub fn is_excused(&self) -> bool {
        self.excused_until.is_some_and(|until| Instant::now() < until)
    }

    /// It has a process.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// It has a process, which does something.
    pub fn is_working(&self) -> bool {
        self.child.is_some() && !self.is_paused
    }

    /// Starts its process, and gives its number.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn spawn(&mut self) -> io::Result<u32> {
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let (program, words) = self.command.split_first().ok_or_else(|| io::Error::other("no command"))?;
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("PHALANX_") && name != "PHALANX_LOG" {
                command.env_remove(&*name);
            }
        }
        // What a terminal sends to this program is not for its nodes.
        command.process_group(0);
        command.env("RUST_BACKTRACE", "1").envs(self.environment.iter().cloned());
        let child = command.spawn()?;
        let pid = child.id().unwrap_or_default();
        (self.child, self.is_paused) = (Some(child), false);
        Ok(pid)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = self.child.as_ref().and_then(Child::id).and_then(|pid| Pid::from_raw(pid as i32));
        match pid {
            Some(pid) => Ok(kill_process(pid, signal)?),
            None => Ok(()),
        }
    }

    /// `kill -9`, without waiting until it is gone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn strike(&mut self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn kill(&mut self) -> io::Result<()> {
        match self.child.take() {
            Some(mut child) => child.kill().await,
            None => Ok(()),
        }
    }

    /// Stands still until [`Node::resume`].
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn pause(&mut self) -> io::Result<()> {
        self.is_paused = true;
        self.signal(Signal::STOP)
    }

    /// Goes on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn resume(&mut self) -> io::Result<()> {
        if !self.is_paused {
            return Ok(());
        }
        self.is_paused = false;
        self.signal(Signal::CONT)
    }

    /// Asks it to stop, and waits.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn stop(&mut self) -> io::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        drop(child.stdin.take());
        match tokio::time::timeout(STOP_DEADLINE, child.wait()).await {
            Ok(status) => status.map(|_| ()),
            Err(_) => child.kill().await,
        }
    }

    /// How its process ended, if it did so by itself; it is no longer running then.
    pub fn take_exit(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())?;
        self.child = None;
        Some(status)
    }
}
