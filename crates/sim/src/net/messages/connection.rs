//! A connection: its two ends, the calls that each end knows, and what became of each direction.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http_body::Frame;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::wires::HostId;

/// Names a call.
pub(super) type CallId = u64;
/// Names a connection.
pub(super) type ConnectionId = u64;

/// The end that dialled.
pub(super) const CALLER: usize = 0;
/// The end that was dialled.
pub(super) const LISTENER: usize = 1;

/// Frames of one direction of a call that were sent and not taken: what a window is to HTTP/2.
const FRAMES_AHEAD: usize = 32;

/// The frames of a body as they arrive.
pub(super) type Frames = mpsc::UnboundedReceiver<Result<Frame<Bytes>, Status>>;

/// What goes over a connection.
pub(super) enum Packet {
    /// May I?
    Hello,
    /// You may.
    Welcome,
    /// A call begins.
    Open { call: CallId, request: http::request::Parts, credit: Credit },
    /// It is answered.
    Head { call: CallId, response: http::response::Parts },
    /// A part of the body.
    Frame { call: CallId, frame: Frame<Bytes> },
    /// The end of the body.
    End { call: CallId },
    /// The sender has given the call up.
    Cancel { call: CallId },
    /// A request arrives for a second time.
    Again { request: http::request::Parts, frames: Vec<Bytes> },
    /// The connection is over.
    Bye,
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello => write!(f, "hello"),
            Self::Welcome => write!(f, "welcome"),
            Self::Open { call, request, .. } => write!(f, "open {call} {}", request.uri.path()),
            Self::Head { call, response } => write!(f, "head {call} {}", response.status),
            Self::Frame { call, .. } => write!(f, "frame {call}"),
            Self::End { call } => write!(f, "end {call}"),
            Self::Cancel { call } => write!(f, "cancel {call}"),
            Self::Again { request, .. } => write!(f, "again {}", request.uri.path()),
            Self::Bye => write!(f, "bye"),
        }
    }
}

/// How many more frames each end may send. Both ends share it: a promise of room is never lost.
#[derive(Clone)]
pub(super) struct Credit([Arc<Semaphore>; 2]);

impl Credit {
    pub(super) fn new() -> Self {
        Self([(); 2].map(|()| Arc::new(Semaphore::new(FRAMES_AHEAD))))
    }

    /// Of what `end` sends.
    pub(super) fn of(&self, end: usize) -> Arc<Semaphore> {
        Arc::clone(&self.0[end])
    }
}

/// What an end knows of a call.
pub(super) struct Half {
    /// Where the response's head is waited for.
    pub head: Option<oneshot::Sender<Result<http::response::Parts, Status>>>,
    /// Where the other end's body goes.
    pub frames: Option<mpsc::UnboundedSender<Result<Frame<Bytes>, Status>>>,
    /// Nobody needs what this end still does for the call.
    pub over: CancellationToken,
    /// What has arrived, to arrive again.
    pub copy: Option<(http::request::Parts, Vec<Bytes>)>,
}

impl Half {
    /// Tells this end that nothing more comes, and why.
    pub(super) fn fail(&mut self, why: &Status) {
        // Who has given up waiting need not be told.
        if let Some(head) = self.head.take() {
            let _ = head.send(Err(why.clone()));
        }
        if let Some(frames) = self.frames.take() {
            let _ = frames.send(Err(why.clone()));
        }
        self.over.cancel();
    }
}

/// What became of a direction.
pub(super) enum Fate {
    /// Everything arrived so far.
    Fine,
    /// Something was lost: nothing arrives any more.
    Lost,
    /// Nothing arrives as long as the way is cut; then all of it does.
    Held(VecDeque<Packet>),
}

/// One end of a connection, and the direction away from it.
pub(super) struct End {
    pub host: HostId,
    pub open: bool,
    pub halves: BTreeMap<CallId, Half>,
    pub fate: Fate,
    /// When the last packet of this end was sent, and when it is due, ns.
    pub last: (u64, u64),
    /// Since when no ping would be answered, ns.
    pub deaf_since: Option<u64>,
}

impl End {
    pub(super) fn new(host: HostId, open: bool) -> Self {
        Self { host, open, halves: BTreeMap::new(), fate: Fate::Fine, last: (0, 0), deaf_since: None }
    }
}

/// See the module.
pub(super) struct Connection {
    pub ends: [End; 2],
    pub port: u16,
    /// Told when the connection has come about.
    pub welcome: Option<oneshot::Sender<()>>,
}

impl Connection {
    pub(super) fn is_over(&self) -> bool {
        self.ends.iter().all(|end| !end.open)
    }
}
