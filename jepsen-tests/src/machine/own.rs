//! Machines with disks and clocks of our own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use super::Machines;
use super::fuse::Disk;
use crate::nemesis::Fault;

/// A sync on a slow disk takes so long.
const SLOW: Duration = Duration::from_millis(150);

/// The library that gives a process another wall clock. The monotonic clock stays as it is.
pub const FAKE_TIME: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
];

/// Names the library where it is not at its usual place.
const FAKE_TIME_VARIABLE: &str = "PHALANX_JEPSEN_FAKETIME";

/// Where the library is.
///
/// # Errors
/// What to do about it when it is not there.
pub fn fake_time() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os(FAKE_TIME_VARIABLE).map(PathBuf::from) {
        let why = format!("{FAKE_TIME_VARIABLE} names {}, which is no file", named.display());
        return if named.is_file() { Ok(named) } else { Err(why) };
    }
    FAKE_TIME.map(PathBuf::from).into_iter().find(|path| path.is_file()).ok_or_else(|| {
        format!("the package libfaketime is not installed ({FAKE_TIME_VARIABLE} may name its library)")
    })
}

/// Disks and clocks of a cluster.
#[derive(Default)]
pub struct Own {
    /// One for each node, or none at all.
    disks: Vec<Disk>,
    /// What the library reads: one for each node, or none at all.
    clocks: Vec<PathBuf>,
}

impl Own {
    /// Mounts a disk on each of these directories.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn mount(&mut self, directories: &[PathBuf]) -> io::Result<()> {
        for directory in directories {
            fs::create_dir_all(directory)?;
            self.disks.push(Disk::mount(directory)?);
        }
        Ok(())
    }

    /// Makes a clock in each of these directories; the variables that give it to a process.
    ///
    /// # Errors
    /// When a file cannot be written, or the library is missing.
    pub fn make_clocks(&mut self, directories: &[PathBuf]) -> io::Result<Vec<Vec<(&'static str, String)>>> {
        let library = fake_time().map_err(io::Error::other)?;
        let mut variables = Vec::new();
        for directory in directories {
            fs::create_dir_all(directory)?;
            let path = directory.join("clock");
            set(&path, 0)?;
            variables.push(vec![
                ("LD_PRELOAD", library.display().to_string()),
                ("FAKETIME_TIMESTAMP_FILE", path.display().to_string()),
                ("FAKETIME_NO_CACHE", "1".to_owned()),
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
                ("DONT_FAKE_MONOTONIC", "1".to_owned()),
            ]);
            self.clocks.push(path);
        }
        Ok(variables)
    }

    fn disk(&self, node: u64) -> io::Result<&Disk> {
        self.disks.get(node as usize - 1).ok_or_else(|| io::Error::other("this disk is not ours"))
    }
}

/// The clock changes from one moment to the next: the file is replaced as a whole.
fn set(path: &Path, seconds: i64) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, format!("{seconds:+}s\n"))?;
    fs::rename(new, path)
}

impl Machines for Own {
    fn power_cut(&self, node: u64, seed: u64) -> io::Result<usize> {
        Ok(self.disk(node)?.tree.lock().power_cut(&mut SmallRng::seed_from_u64(seed)))
    }

    fn worsen(&self, node: u64, fault: Fault) -> io::Result<()> {
        let disk = self.disk(node)?;
        match fault {
            Fault::SyncFails => disk.tree.lock().next_sync_fails = true,
            Fault::Full => disk.tree.lock().is_full = true,
            _ => disk.slow_down(SLOW),
        }
        Ok(())
    }

    fn set_clock(&self, node: u64, seconds: i64) -> io::Result<()> {
        let clock = self.clocks.get(node as usize - 1);
        set(clock.ok_or_else(|| io::Error::other("this clock is not ours"))?, seconds)
    }

    fn heal(&self) -> io::Result<()> {
        for disk in &self.disks {
            let mut tree = disk.tree.lock();
            (tree.is_full, tree.next_sync_fails) = (false, false);
            disk.slow_down(Duration::ZERO);
        }
        self.clocks.iter().try_for_each(|clock| set(clock, 0))
    }
}
