//! [`Tree`] as a mounted file system.
//!
//! Nothing of it is cached by the kernel: after a power cut, programs see at once what survived.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use parking_lot::Mutex;

use super::tree::{ROOT, Refusal, Tree};

/// Nothing is remembered by the kernel.
const NO_TIME: Duration = Duration::ZERO;
/// Block of `statfs`, bytes.
const BLOCK_BYTES: u32 = 4_096;
/// Size of the disk, in blocks: 4 GiB.
const BLOCKS: u64 = 1 << 20;

/// A mounted disk. Dropping it unmounts it.
pub struct Disk {
    /// What is on it.
    pub tree: Arc<Mutex<Tree>>,
    sync_delay_ms: Arc<AtomicU64>,
    _session: BackgroundSession,
}

impl Disk {
    /// An empty disk, mounted on a directory.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn mount(directory: &Path) -> io::Result<Self> {
        let tree = Arc::new(Mutex::new(Tree::default()));
        let sync_delay_ms = Arc::new(AtomicU64::new(0));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("phalanx-jepsen".to_owned())];
        let mounted = Mounted { tree: tree.clone(), sync_delay_ms: sync_delay_ms.clone() };
        let session = fuser::spawn_mount(mounted, directory, &config)?;
        Ok(Self { tree, sync_delay_ms, _session: session })
    }

    /// From now on each sync takes so long.
    pub fn slow_down(&self, delay: Duration) {
        self.sync_delay_ms.store(delay.as_millis() as u64, Ordering::Relaxed);
    }
}

struct Mounted {
    tree: Arc<Mutex<Tree>>,
    sync_delay_ms: Arc<AtomicU64>,
}

fn errno(refusal: Refusal) -> Errno {
    match refusal {
        Refusal::Missing => Errno::ENOENT,
        Refusal::Taken => Errno::EEXIST,
        Refusal::NotEmpty => Errno::ENOTEMPTY,
        Refusal::WrongKind => Errno::ENOTDIR,
        Refusal::NoSpace => Errno::ENOSPC,
        Refusal::Broken => Errno::EIO,
    }
}

fn kind(is_directory: bool) -> FileType {
    if is_directory { FileType::Directory } else { FileType::RegularFile }
}

fn attributes(tree: &Tree, id: u64) -> Result<FileAttr, Refusal> {
    let (is_directory, size) = tree.look(id)?;
    let now = SystemTime::now().max(UNIX_EPOCH);
    Ok(FileAttr {
        ino: INodeNo(id),
        size,
        blocks: size.div_ceil(512),
        atime: now,
        mtime: now,
        ctime: now,
        crtime: now,
        kind: kind(is_directory),
        perm: if is_directory { 0o755 } else { 0o644 },
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    })
}

/// Answers with a value, or with why there is none.
macro_rules! answer {
    ($reply:ident, $result:expr, $ok:expr) => {
        match $result {
            Ok(value) => $ok(value),
            Err(refusal) => $reply.error(errno(refusal)),
        }
    };
}

impl Mounted {
    fn sync(&self, id: u64, reply: ReplyEmpty) {
        let delay_ms = self.sync_delay_ms.load(Ordering::Relaxed);
        if delay_ms > 0 {
            std::thread::sleep(Duration::from_millis(delay_ms));
        }
        answer!(reply, self.tree.lock().sync(id), |()| reply.ok());
    }

    fn entry(&self, id: Result<u64, Refusal>, reply: ReplyEntry) {
        let tree = self.tree.lock();
        let attributes = id.and_then(|id| attributes(&tree, id));
        answer!(reply, attributes, |attributes| reply.entry(&NO_TIME, &attributes, Generation(0)));
    }
}

impl Filesystem for Mounted {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.tree.lock().lookup(parent.0, name);
        self.entry(found, reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let attributes = attributes(&self.tree.lock(), ino.0);
        answer!(reply, attributes, |attributes| reply.attr(&NO_TIME, &attributes));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut tree = self.tree.lock();
        let cut = size.map_or(Ok(()), |size| tree.set_length(ino.0, size));
        let attributes = cut.and_then(|()| attributes(&tree, ino.0));
        answer!(reply, attributes, |attributes| reply.attr(&NO_TIME, &attributes));
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _mode: u32, _umask: u32, reply: ReplyEntry) {
        let made = self.tree.lock().make(parent.0, name, true);
        self.entry(made, reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.tree.lock().remove(parent.0, name, false), |()| reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.tree.lock().remove(parent.0, name, true), |()| reply.ok());
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let renamed = self.tree.lock().rename((parent.0, name), (newparent.0, newname));
        answer!(reply, renamed, |()| reply.ok());
    }

    fn open(&self, _: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.tree.lock().opened(ino.0);
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let mut tree = self.tree.lock();
        let made = tree.make(parent.0, name, false);
        if let Ok(id) = made {
            tree.opened(id);
        }
        let attributes = made.and_then(|id| attributes(&tree, id));
        answer!(reply, attributes, |attributes| reply.created(
            &NO_TIME,
            &attributes,
            Generation(0),
            FileHandle(0),
            FopenFlags::FOPEN_DIRECT_IO
        ));
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let tree = self.tree.lock();
        answer!(reply, tree.read(ino.0, offset, size as usize), |bytes| reply.data(bytes));
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.tree.lock().write(ino.0, offset, data);
        answer!(reply, written, |()| reply.written(data.len() as u32));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.tree.lock().closed(ino.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.sync(ino.0, reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.sync(ino.0, reply);
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let tree = self.tree.lock();
        let names = match tree.list(ino.0) {
            Ok(names) => names,
            Err(refusal) => return reply.error(errno(refusal)),
        };
        let own = [(".".into(), ino.0), ("..".into(), ROOT)];
        for (place, (name, id)) in own.into_iter().chain(names).enumerate().skip(offset as usize) {
            let is_directory = tree.look(id).is_ok_and(|(is_directory, _)| is_directory);
            if reply.add(INodeNo(id), place as u64 + 1, kind(is_directory), name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let free = if self.tree.lock().is_full { 0 } else { BLOCKS / 2 };
        reply.statfs(BLOCKS, free, free, BLOCKS, BLOCKS, BLOCK_BYTES, 255, BLOCK_BYTES);
    }
}
