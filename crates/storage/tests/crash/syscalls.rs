//! Every way in which the engines change a disk, recorded in the order in which it happened.
//!
//! This binary defines the C library's calls itself, so that the ones which the standard library and the engines link are these: each
//! does what it is named after, by the system call, and notes it if it is about a file below the recorded directory. A sync does
//! nothing here but take its time: whether it is missing shows in the images, which forget what was not synced.
#![allow(unsafe_code)] // The signatures are the C library's; what each block relies on is said there.

use std::collections::HashMap;
use std::ffi::CStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libc::{c_char, c_int, c_long, c_uint, c_void, off64_t, size_t, ssize_t};

/// How long a sync takes here: long enough that other threads write meanwhile.
const SYNC_TIME: Duration = Duration::from_micros(300);

pub type FileId = u32;

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Event {
    Create {
        path: PathBuf,
        file: FileId,
    },
    MakeDir {
        path: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
        file: FileId,
    },
    /// Of a directory, with all that is in it.
    RenameDir {
        from: PathBuf,
        to: PathBuf,
    },
    /// Of a file or an empty directory.
    Remove {
        path: PathBuf,
    },
    Write {
        file: FileId,
        offset: u64,
        data: Arc<[u8]>,
    },
    Truncate {
        file: FileId,
        len: u64,
    },
    SyncBegin {
        sync: u64,
        of: Synced,
    },
    SyncEnd {
        sync: u64,
    },
    /// Said by the workload.
    Mark(Mark),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Synced {
    File(FileId),
    Dir(PathBuf),
}

#[derive(Clone, Copy, Debug)]
pub enum Mark {
    /// A commit begins.
    Begin { replica: u64, index: u64 },
    /// It was acknowledged.
    Done { replica: u64, index: u64, batch: u64 },
}

struct Recorder {
    dir: PathBuf,
    files: HashMap<PathBuf, FileId>,
    open: HashMap<c_int, Synced>,
    next_file: FileId,
    next_sync: u64,
    events: Vec<Event>,
}

static RECORDER: Mutex<Option<Recorder>> = Mutex::new(None);
static IS_ON: AtomicBool = AtomicBool::new(false);
/// Children check images; what they sync is thrown away, so they need not wait for the real disk.
static SKIP_SYNCS: AtomicBool = AtomicBool::new(false);

/// Whether syncs of recorded files fail.
static FAIL_SYNCS: AtomicBool = AtomicBool::new(false);

/// Lets syncs of recorded files fail, or succeed again.
pub fn fail_syncs(fail: bool) {
    FAIL_SYNCS.store(fail, Ordering::SeqCst);
}

/// From here on no sync of this process waits for the disk.
pub fn skip_syncs() {
    SKIP_SYNCS.store(true, Ordering::SeqCst);
}

/// Begins to record what happens below `dir`, which holds `files`.
pub fn start(dir: &Path, files: &[(PathBuf, FileId)]) {
    let next_file = files.iter().map(|(_, file)| file + 1).max().unwrap_or(0);
    let files = files.iter().map(|(path, file)| (dir.join(path), *file)).collect();
    let (dir, open, events) = (dir.to_owned(), HashMap::new(), Vec::new());
    let recorder = Recorder { dir, files, open, next_file, next_sync: 0, events };
    let before = RECORDER.lock().unwrap().replace(recorder);
    assert!(before.is_none(), "one recording at a time");
    IS_ON.store(true, Ordering::SeqCst);
}

/// Ends the recording.
pub fn stop() -> Vec<Event> {
    IS_ON.store(false, Ordering::SeqCst);
    RECORDER.lock().unwrap().take().expect("it was started").events
}

/// Events recorded so far.
pub fn count() -> usize {
    with(|recorder| recorder.events.len()).unwrap_or(0)
}

pub fn mark(mark: Mark) {
    with(|recorder| recorder.events.push(Event::Mark(mark)));
}

fn with<T>(note: impl FnOnce(&mut Recorder) -> T) -> Option<T> {
    if !IS_ON.load(Ordering::SeqCst) {
        return None;
    }
    RECORDER.lock().unwrap().as_mut().map(note)
}

/// Where a path leads after a directory that it may be in was renamed; `None` when it is not.
pub fn moved(path: &Path, from: &Path, to: &Path) -> Option<PathBuf> {
    let below = path.strip_prefix(from).ok()?;
    Some(if below == Path::new("") { to.to_owned() } else { to.join(below) })
}

impl Recorder {
    /// The path below the recorded directory.
    fn relative(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(&self.dir).ok().map(Path::to_owned)
    }

    fn opened(&mut self, fd: c_int, path: &Path, flags: c_int) {
        let Some(relative) = self.relative(path) else { return };
        if path.is_dir() {
            self.open.insert(fd, Synced::Dir(relative));
            return;
        }
        let file = *self.files.entry(path.to_owned()).or_insert_with(|| {
            let file = self.next_file;
            self.next_file += 1;
            self.events.push(Event::Create { path: relative, file });
            file
        });
        if flags & libc::O_TRUNC != 0 {
            self.events.push(Event::Truncate { file, len: 0 });
        }
        self.open.insert(fd, Synced::File(file));
    }

    fn file(&self, fd: c_int) -> Option<FileId> {
        match self.open.get(&fd) {
            Some(Synced::File(file)) => Some(*file),
            _ => None,
        }
    }

    fn removed(&mut self, path: &Path) {
        if let Some(relative) = self.relative(path) {
            self.files.remove(path);
            self.events.push(Event::Remove { path: relative });
        }
    }

    fn renamed(&mut self, from: &Path, to: &Path) {
        let (Some(old), Some(new)) = (self.relative(from), self.relative(to)) else { return };
        if let Some(file) = self.files.remove(from) {
            self.files.insert(to.to_owned(), file);
            self.events.push(Event::Rename { from: old, to: new, file });
            return;
        }
        let files = std::mem::take(&mut self.files).into_iter();
        self.files = files.map(|(path, file)| (moved(&path, from, to).unwrap_or(path), file)).collect();
        for of in self.open.values_mut() {
            if let Synced::Dir(dir) = of
                && let Some(path) = moved(dir, &old, &new)
            {
                *dir = path;
            }
        }
        self.events.push(Event::RenameDir { from: old, to: new });
    }

    fn absolute(&self, dir: c_int, path: &Path) -> PathBuf {
        match self.open.get(&dir) {
            Some(Synced::Dir(dir)) => self.dir.join(dir).join(path),
            _ => path.to_owned(),
        }
    }
}

/// # Safety
/// `path` is a C string.
unsafe fn path<'a>(path: *const c_char) -> &'a Path {
    // SAFETY: as the caller promises; it outlives the call that it was passed to.
    Path::new(std::ffi::OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()))
}

/// # Safety
/// As the system call `openat`.
unsafe fn do_open(dir: c_int, name: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    // SAFETY: the caller's arguments, passed on.
    let go = || unsafe { libc::syscall(libc::SYS_openat, dir, name, flags, mode) } as c_int;
    let noted = with(|recorder| {
        let fd = go();
        if fd >= 0 {
            // SAFETY: the call has succeeded, so it is a C string.
            let path = recorder.absolute(dir, unsafe { path(name) });
            recorder.opened(fd, &path, flags);
        }
        fd
    });
    noted.unwrap_or_else(go)
}

/// # Safety
/// As the system call `pwrite64`.
unsafe fn do_write(fd: c_int, from: *const c_void, count: size_t, at: Option<off64_t>) -> ssize_t {
    let go = || {
        // SAFETY: the caller's arguments, passed on.
        let written = unsafe {
            match at {
                Some(at) => libc::syscall(libc::SYS_pwrite64, fd, from, count, at),
                None => libc::syscall(libc::SYS_write, fd, from, count),
            }
        };
        written as ssize_t
    };
    let noted = with(|recorder| {
        let file = recorder.file(fd)?;
        // SAFETY: asks for the position of an open file.
        let offset = at.unwrap_or_else(|| unsafe { libc::lseek64(fd, 0, libc::SEEK_CUR) });
        let written = go();
        assert!(written == count as ssize_t, "a short write is not foreseen here");
        // SAFETY: the kernel has just read these bytes.
        let data = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), count) };
        recorder.events.push(Event::Write { file, offset: offset as u64, data: data.into() });
        Some(written)
    });
    noted.flatten().unwrap_or_else(go)
}

/// # Safety
/// As the system call `ftruncate`.
unsafe fn do_truncate(fd: c_int, len: off64_t) -> c_int {
    // SAFETY: the caller's arguments, passed on.
    let go = || unsafe { libc::syscall(libc::SYS_ftruncate, fd, len) } as c_int;
    let noted = with(|recorder| {
        let file = recorder.file(fd)?;
        let result = go();
        if result == 0 {
            recorder.events.push(Event::Truncate { file, len: len as u64 });
        }
        Some(result)
    });
    noted.flatten().unwrap_or_else(go)
}

fn do_sync(fd: c_int, call: c_long) -> c_int {
    let begun = with(|recorder| {
        let of = recorder.open.get(&fd)?.clone();
        if FAIL_SYNCS.load(Ordering::SeqCst) {
            return Some(None);
        }
        recorder.next_sync += 1;
        let sync = recorder.next_sync;
        recorder.events.push(Event::SyncBegin { sync, of });
        Some(Some(sync))
    });
    if let Some(begun) = begun.flatten() {
        let Some(sync) = begun else {
            // SAFETY: the C library's own place for this thread's error.
            unsafe { *libc::__errno_location() = libc::EIO };
            return -1;
        };
        std::thread::sleep(SYNC_TIME);
        with(|recorder| recorder.events.push(Event::SyncEnd { sync }));
        return 0;
    }
    if SKIP_SYNCS.load(Ordering::SeqCst) {
        return 0;
    }
    // SAFETY: takes a descriptor by value.
    (unsafe { libc::syscall(call, fd) }) as c_int
}

/// # Safety
/// As the system call `unlinkat`.
unsafe fn do_remove(dir: c_int, name: *const c_char, flags: c_int) -> c_int {
    // SAFETY: the caller's arguments, passed on.
    let go = || unsafe { libc::syscall(libc::SYS_unlinkat, dir, name, flags) } as c_int;
    let noted = with(|recorder| {
        // SAFETY: a C string by contract.
        let path = recorder.absolute(dir, unsafe { path(name) });
        let result = go();
        if result == 0 {
            recorder.removed(&path);
        }
        result
    });
    noted.unwrap_or_else(go)
}

/// # Safety
/// As the system call `mkdir`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mkdir(name: *const c_char, mode: libc::mode_t) -> c_int {
    // SAFETY: the caller's arguments, passed on.
    let go = || unsafe { libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, name, mode) } as c_int;
    let noted = with(|recorder| {
        let result = go();
        // SAFETY: a C string by contract.
        if let (0, Some(path)) = (result, recorder.relative(unsafe { path(name) })) {
            recorder.events.push(Event::MakeDir { path });
        }
        result
    });
    noted.unwrap_or_else(go)
}

/// `rename` itself is the storage crate's, and calls this one.
///
/// # Safety
/// As the system call `renameat`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn renameat(
    from_dir: c_int,
    from: *const c_char,
    to_dir: c_int,
    to: *const c_char,
) -> c_int {
    // SAFETY: the caller's arguments, passed on.
    let go = || unsafe { libc::syscall(libc::SYS_renameat2, from_dir, from, to_dir, to, 0) } as c_int;
    let noted = with(|recorder| {
        let result = go();
        if result == 0 {
            // SAFETY: C strings by contract.
            let (from, to) = unsafe { (path(from), path(to)) };
            let (from, to) = (recorder.absolute(from_dir, from), recorder.absolute(to_dir, to));
            recorder.renamed(&from, &to);
        }
        result
    });
    noted.unwrap_or_else(go)
}

/// Defines calls of the C library by the functions above.
macro_rules! calls {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $answer:ty = $body:expr;)*) => {$(
        /// # Safety
        /// As the C library's call of this name.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $kind),*) -> $answer {
            // SAFETY: the caller's arguments, passed on.
            #[allow(unused_unsafe)]
            unsafe { $body }
        }
    )*};
}

calls! {
    open(name: *const c_char, flags: c_int, mode: c_uint) -> c_int = do_open(libc::AT_FDCWD, name, flags, mode);
    open64(name: *const c_char, flags: c_int, mode: c_uint) -> c_int = do_open(libc::AT_FDCWD, name, flags, mode);
    openat(dir: c_int, name: *const c_char, flags: c_int, mode: c_uint) -> c_int = do_open(dir, name, flags, mode);
    openat64(dir: c_int, name: *const c_char, flags: c_int, mode: c_uint) -> c_int = do_open(dir, name, flags, mode);
    write(fd: c_int, from: *const c_void, count: size_t) -> ssize_t = do_write(fd, from, count, None);
    pwrite(fd: c_int, from: *const c_void, count: size_t, at: off64_t) -> ssize_t = do_write(fd, from, count, Some(at));
    pwrite64(fd: c_int, from: *const c_void, count: size_t, at: off64_t) -> ssize_t = do_write(fd, from, count, Some(at));
    ftruncate(fd: c_int, len: off64_t) -> c_int = do_truncate(fd, len);
    ftruncate64(fd: c_int, len: off64_t) -> c_int = do_truncate(fd, len);
    fsync(fd: c_int) -> c_int = do_sync(fd, libc::SYS_fsync);
    fdatasync(fd: c_int) -> c_int = do_sync(fd, libc::SYS_fdatasync);
    unlink(name: *const c_char) -> c_int = do_remove(libc::AT_FDCWD, name, 0);
    unlinkat(dir: c_int, name: *const c_char, flags: c_int) -> c_int = do_remove(dir, name, flags);
    rmdir(name: *const c_char) -> c_int = do_remove(libc::AT_FDCWD, name, libc::AT_REMOVEDIR);
    close(fd: c_int) -> c_int = {
        with(|recorder| recorder.open.remove(&fd));
        libc::syscall(libc::SYS_close, fd) as c_int
    };
}

/// Ways to change a file that the recording does not know: it would be wrong without them.
macro_rules! unforeseen {
    ($($name:ident($fd:ident: c_int $(, $argument:ident: $kind:ty)*) -> $answer:ty = $call:expr;)*) => {$(
        /// # Safety
        /// As the C library's call of this name.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($fd: c_int $(, $argument: $kind)*) -> $answer {
            let is_recorded = with(|recorder| recorder.file($fd).is_some());
            assert!(is_recorded != Some(true), "the recording knows no {}", stringify!($name));
            // SAFETY: the caller's arguments, passed on.
            (unsafe { libc::syscall($call, $fd $(, $argument)*) }) as $answer
        }
    )*};
}

unforeseen! {
    writev(fd: c_int, parts: *const libc::iovec, count: c_int) -> ssize_t = libc::SYS_writev;
    fallocate(fd: c_int, mode: c_int, offset: off64_t, len: off64_t) -> c_int = libc::SYS_fallocate;
    fallocate64(fd: c_int, mode: c_int, offset: off64_t, len: off64_t) -> c_int = libc::SYS_fallocate;
}
