//! Links as proxies on 127.0.0.0/8, where namespaces are not allowed.
//!
//! All nodes are told the same address of each node, the proxy's. Whose connection it is, is found out as `ss -p` does: by the port, in the
//! kernel's table of sockets, and the socket, among the files of our own processes. A cut link holds its bytes back, in each direction by itself, as a
//! network does that drops packets: nobody is told.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{Bad, End, PORTS};

/// How often a held up connection looks whether it may go on.
const LOOK: Duration = Duration::from_millis(20);
/// Bytes that are passed on at once.
const PIECE_BYTES: usize = 64 * 1024;

#[derive(Default)]
struct State {
    cut: BTreeSet<(End, End)>,
    bad: BTreeMap<u64, Bad>,
    pids: BTreeMap<u64, u32>,
}

/// The proxies of a cluster.
pub struct Proxies {
    state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

impl Proxies {
    /// Listens for all nodes.
    ///
    /// # Errors
    /// When an address is taken.
    pub async fn new(nodes: u64) -> io::Result<Self> {
        let state = Arc::new(Mutex::new(State::default()));
        let mut tasks = JoinSet::new();
        for node in 1..=nodes {
            for port in [PORTS[0], PORTS[1]] {
                let listener = TcpListener::bind((format!("127.77.{node}.1"), port)).await?;
                tasks.spawn(serve(listener, node, port, state.clone()));
            }
        }
        Ok(Self { state, _tasks: tasks })
    }

    pub(super) fn started(&self, node: u64, pid: u32) {
        self.state.lock().pids.insert(node, pid);
    }

    pub(super) fn cut(&self, links: &[(End, End)]) {
        self.state.lock().cut.extend(links);
    }

    pub(super) fn worsen(&self, node: u64, bad: Bad) {
        self.state.lock().bad.insert(node, bad);
    }

    pub(super) fn heal(&self) {
        let mut state = self.state.lock();
        state.cut.clear();
        state.bad.clear();
    }
}

async fn serve(listener: TcpListener, node: u64, port: u16, state: Arc<Mutex<State>>) {
    let mut links = JoinSet::new();
    loop {
        let Ok((incoming, from)) = listener.accept().await else { continue };
        links.spawn(link(incoming, from, node, port, state.clone()));
        while links.try_join_next().is_some() {}
    }
}

async fn link(incoming: TcpStream, from: SocketAddr, node: u64, port: u16, state: Arc<Mutex<State>>) {
    let pids = state.lock().pids.clone();
    let caller = tokio::task::spawn_blocking(move || owner(from, &pids)).await.ok().flatten();
    let (caller, called) = (caller.map_or(End::Clients, End::Node), End::Node(node));
    passable(&state, caller, called).await;
    let Ok(outgoing) = TcpStream::connect((format!("127.77.{node}.2"), port)).await else { return };
    let ((from_caller, to_caller), (from_called, to_called)) = (incoming.into_split(), outgoing.into_split());
    tokio::select! {
        () = pass(from_caller, to_called, (caller, called), &state) => {}
        () = pass(from_called, to_caller, (called, caller), &state) => {}
    }
}

async fn passable(state: &Mutex<State>, from: End, to: End) {
    while state.lock().cut.contains(&(from, to)) {
        tokio::time::sleep(LOOK).await;
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, link: (End, End), state: &Mutex<State>) {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let Ok(length) = from.read(&mut piece).await else { return };
        // The end of a connection is news that a cut link holds back, too.
        passable(state, link.0, link.1).await;
        let bad = [link.0, link.1].into_iter().find_map(|end| match end {
            End::Node(node) => state.lock().bad.get(&node).copied(),
            End::Clients => None,
        });
        if let Some(bad) = bad.filter(|_| link.0 != End::Clients && link.1 != End::Clients) {
            // A lost packet is one that TCP sends again, later.
            let lost = rand::random_range(0..100) < bad.loss_percent;
            let late = bad.delay_ms + rand::random_range(0..=bad.jitter_ms) + if lost { 200 } else { 0 };
            tokio::time::sleep(Duration::from_millis(late)).await;
        }
        if length == 0 || to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}

/// The node whose process has the other end of a connection from this address.
fn owner(from: SocketAddr, pids: &BTreeMap<u64, u32>) -> Option<u64> {
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let port = format!(":{:04X}", from.port());
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.into_iter().find(|row| row.get(1).is_some_and(|local| local.ends_with(&port)))?;
    let socket = format!("socket:[{}]", row.get(9)?);
    let has_it = |pid: u32| {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files.into_iter().any(|file| {
            std::fs::read_link(file.path()).is_ok_and(|target| target.to_string_lossy() == socket)
        })
    };
    pids.iter().find(|(_, pid)| has_it(**pid)).map(|(node, _)| *node)
}
