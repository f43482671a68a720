//! The machines below the nodes: their disks and clocks.

mod fuse;
mod own;
mod tree;

pub use own::{Own, fake_time};

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use rand::Rng as _;
use rand::rngs::SmallRng;

use crate::nemesis::Fault;

/// The machines of a cluster.
pub trait Machines: Send {
    /// A machine loses power, whose processes are dead: what was not synced survives by chance. How many blocks
    /// did not.
    ///
    /// # Errors
    /// When these machines cannot do it.
    fn power_cut(&self, node: u64, seed: u64) -> io::Result<usize>;

    /// A disk becomes bad.
    ///
    /// # Errors
    /// When these machines cannot do it.
    fn worsen(&self, node: u64, fault: Fault) -> io::Result<()>;

    /// A wall clock is so many seconds ahead.
    ///
    /// # Errors
    /// When these machines cannot do it.
    fn set_clock(&self, node: u64, seconds: i64) -> io::Result<()>;

    /// All disks and clocks are well.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn heal(&self) -> io::Result<()>;
}

fn files_below(dir: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            files_below(&path, files)?;
        } else if fs::metadata(&path)?.len() > 0 {
            files.push(path);
        }
    }
    Ok(())
}

/// Flips some bits in files below a directory, where there is something but zeros; says where.
///
/// # Errors
/// When a file cannot be read or written.
pub fn flip(dir: &Path, random: &mut SmallRng) -> io::Result<Vec<String>> {
    let mut files = Vec::new();
    files_below(dir, &mut files)?;
    // Both copies of the identity at once are more than a fault of a disk: a node does not start without it.
    files.retain(|path| !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("identity")));
    files.sort();
    let mut flipped = Vec::new();
    for _ in 0..random.random_range(1..4) {
        if files.is_empty() {
            break;
        }
        let path = &files[random.random_range(0..files.len())];
        let mut file = File::options().read(true).write(true).open(path)?;
        let length = file.metadata()?.len();
        // Rather where something was written than in the space that waits for it.
        for _ in 0..64 {
            let at = random.random_range(0..length);
            let mut byte = [0];
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(&mut byte)?;
            if byte[0] != 0 {
                byte[0] ^= 1 << random.random_range(0..8);
                file.seek(SeekFrom::Start(at))?;
                file.write_all(&byte)?;
                let name = path.strip_prefix(dir).unwrap_or(path).display();
                flipped.push(format!("{name}@{at}"));
                break;
            }
        }
        file.sync_all()?;
    }
    Ok(flipped)
}
