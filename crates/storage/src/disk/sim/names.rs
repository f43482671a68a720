//! The directory entries of the simulated disk: what is seen, what is durable, and what is under way.

use super::faults::Faults;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Clone)]
enum Change {
    Create { path: PathBuf, file: u64 },
    Remove { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf },
}

impl Change {
    fn is_in(&self, dir: &Path) -> bool {
        let path = match self {
            Self::Create { path, .. } | Self::Remove { path } => path,
            Self::Rename { to, .. } => to,
        };
        path.parent() == Some(dir)
    }

    fn apply(self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Create { path, file } => {
                names.insert(path, file);
            }
            Self::Remove { path } => {
                names.remove(&path);
            }
            Self::Rename { from, to } => {
                // Without its creation there is nothing to rename.
                if let Some(file) = names.remove(&from) {
                    names.insert(to, file);
                }
            }
        }
    }
}

#[derive(Default, Clone)]
pub(super) struct Names {
    seen: BTreeMap<PathBuf, u64>,
    durable: BTreeMap<PathBuf, u64>,
    under_way: Vec<Change>,
}

impl Names {
    pub(super) fn get(&self, path: &Path) -> Option<u64> {
        self.seen.get(path).copied()
    }

    pub(super) fn mentions(&self, file: u64) -> bool {
        self.seen.values().chain(self.durable.values()).any(|f| *f == file)
            || self.under_way.iter().any(|c| matches!(c, Change::Create { file: f, .. } if *f == file))
    }

    pub(super) fn list(&self, dir: &Path) -> Vec<String> {
        let inside = self.seen.keys().filter(|p| p.parent() == Some(dir));
        inside.filter_map(|p| p.file_name()).map(|n| n.to_string_lossy().into_owned()).collect()
    }

    fn change(&mut self, change: Change) {
        change.clone().apply(&mut self.seen);
        self.under_way.push(change);
    }

    pub(super) fn create(&mut self, path: &Path, file: u64) {
        self.change(Change::Create { path: path.to_path_buf(), file });
    }

    pub(super) fn remove(&mut self, path: &Path) -> bool {
        let found = self.seen.contains_key(path);
        if found {
            self.change(Change::Remove { path: path.to_path_buf() });
        }
        found
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> bool {
        let found = self.seen.contains_key(from);
        if found {
            self.change(Change::Rename { from: from.to_path_buf(), to: to.to_path_buf() });
        }
        found
    }

    pub(super) fn sync(&mut self, dir: &Path) {
        for change in std::mem::take(&mut self.under_way) {
            if change.is_in(dir) {
                change.apply(&mut self.durable);
            } else {
                self.under_way.push(change);
            }
        }
    }

    pub(super) fn power_cut(&mut self, faults: &mut Faults) {
        let survival = faults.survival_of_8();
        for change in std::mem::take(&mut self.under_way) {
            if faults.random() % 8 < survival {
                change.apply(&mut self.durable);
            }
        }
        self.seen.clone_from(&self.durable);
    }

    pub(super) fn plant(&mut self, path: &Path, file: u64) {
        self.seen.insert(path.to_path_buf(), file);
        self.durable.insert(path.to_path_buf(), file);
    }

    pub(super) fn lose(&mut self, path: &Path) {
        let was = self.seen.remove(path);
        assert!(was.is_some(), "no file {}", path.display());
        self.durable.remove(path);
        self.under_way.retain(|c| !matches!(c, Change::Create { path: p, .. } if p == path));
    }
}
