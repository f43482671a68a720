//! Heartbeats of all groups to one peer, gathered into few calls.
//!
//! Each group's leader sends a small append several times a second to every follower. With many groups that is many calls between
//! the same two nodes; here they share one call for each `GATHER` at most. A first heartbeat after a quiet time goes at once, so that a
//! linearizable read, which waits for a heartbeat's answer, does not wait for company.
//! Invariant: every heartbeat gets exactly one answer or error; one slow group delays no other's answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use phalanx_proto::channel::Channel;
use phalanx_proto::raft::v1;
use phalanx_proto::raft::v1::raft_client::RaftClient;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Shortest time between two calls to one peer.
const GATHER: Duration = Duration::from_millis(10);
/// A call whose peer says nothing at all for this long is given up; so few calls hang at a time.
const SILENCE: Duration = Duration::from_millis(500);
/// Most heartbeats that wait for one peer; beyond, they fail at once (the peer is not answering).
const WAITING_MAX: usize = 4096;

/// One heartbeat's way back.
type Answer = Result<v1::AppendResponse, String>;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Coalescer {
    inner: Arc<Inner>,
}

struct Inner {
    client: RaftClient<Channel>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: Vec<(v1::Peer, v1::Append, oneshot::Sender<Answer>)>,
    /// A task is about to send, or waits for the gathering time to pass.
    scheduled: bool,
    last_sent: Option<Instant>,
}

impl Coalescer {
    pub(crate) fn new(client: RaftClient<Channel>) -> Self {
        Self { inner: Arc::new(Inner { client, state: Mutex::new(State::default()) }) }
    }

    /// Sends one heartbeat with whatever else is due, and waits for its answer. The caller bounds the wait.
    pub(crate) async fn send(&self, peer: v1::Peer, append: v1::Append) -> Answer {
        let (answer, answered) = oneshot::channel();
        let start = {
            let mut state = self.inner.state.lock();
            if state.waiting.len() >= WAITING_MAX {
                return Err("too many heartbeats wait for this peer".to_owned());
            }
            state.waiting.push((peer, append, answer));
            let start = !state.scheduled;
            state.scheduled = true;
            start.then(|| state.last_sent.map(|sent| sent + GATHER))
        };
        if let Some(not_before) = start {
            let inner = Arc::clone(&self.inner);
            tokio::spawn(async move {
                if let Some(not_before) = not_before {
                    tokio::time::sleep_until(not_before).await;
                }
                inner.send_waiting().await;
            });
        }
        answered.await.unwrap_or_else(|_| Err("the call ended without an answer".to_owned()))
    }
}

impl Inner {
    /// One call for everything that waits; answers are handed back as they come.
    async fn send_waiting(&self) {
        let waiting = {
            let mut state = self.state.lock();
            state.scheduled = false;
            state.last_sent = Some(Instant::now());
            // Those whose sender gave up are not worth sending.
            let mut waiting = std::mem::take(&mut state.waiting);
            waiting.retain(|(_, _, answer)| !answer.is_closed());
            waiting
        };
        if waiting.is_empty() {
            return;
        }
        let mut answers = BTreeMap::new();
        let mut items = Vec::with_capacity(waiting.len());
        for (tag, (peer, append, answer)) in (0u64..).zip(waiting) {
            items.push(v1::HeartbeatItem { tag, peer: Some(peer), append: Some(append) });
            answers.insert(tag, answer);
        }
        let failure = match self.exchange(items, &mut answers).await {
            Ok(()) => "the peer did not answer this heartbeat".to_owned(),
            Err(status) => status.to_string(),
        };
        for answer in answers.into_values() {
            // A sender that gave up needs no answer.
            let _ = answer.send(Err(failure.clone()));
        }
    }

    async fn exchange(
        &self,
        items: Vec<v1::HeartbeatItem>,
        answers: &mut BTreeMap<u64, oneshot::Sender<Answer>>,
    ) -> Result<(), tonic::Status> {
        let mut client = self.client.clone();
        let call = tokio::time::timeout(SILENCE, client.heartbeat(v1::HeartbeatRequest { items }));
        let silent = |_| tonic::Status::deadline_exceeded("the peer is silent");
        let mut responses = call.await.map_err(silent)??.into_inner();
        loop {
            // Ends early when nobody waits any more: their own deadlines are over.
            answers.retain(|_, answer| !answer.is_closed());
            if answers.is_empty() {
                return Ok(());
            }
            let next = tokio::time::timeout(SILENCE, responses.message()).await.map_err(silent)?;
            let Some(response) = next? else { return Ok(()) };
            let Some(answer) = answers.remove(&response.tag) else { continue };
            let outcome = match response.outcome {
                Some(v1::heartbeat_response::Outcome::Answer(append)) => Ok(append),
                Some(v1::heartbeat_response::Outcome::Refusal(why)) => Err(why),
                None => Err("an empty answer".to_owned()),
            };
            let _ = answer.send(outcome);
        }
    }
}
