//! Answering a call of administration where it belongs: at the catalog's leader, or at the leader of a queue's shard.
//!
//! What was certainly not written is tried again within the caller's deadline, so that a change of leader shows as a delay. A call that
//! was forwarded to this node is answered here or not at all.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use phalanx_state_machine::catalog::QueueEntry;
use tokio::time::Instant;
use tonic::{Response, Status};

use crate::authorize::Rule;
use crate::caller::Caller;
use crate::forward::{self, Loss};
use crate::router::{self, Leader};
use crate::shard::{CATALOG, Shard};
use crate::state::NodeState;
use crate::status::{self, Reason};

/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// Whose leader answers.
#[derive(Clone, Copy)]
pub(super) enum Whose<'a> {
    /// The catalog's.
    Catalog,
    /// That of a queue's shard; the queue is looked up afresh.
    Queue { namespace: &'a str, name: &'a str },
}

/// One call.
pub(super) struct AdminCall<'a> {
    pub(super) state: &'a NodeState,
    pub(super) caller: &'a Caller,
    pub(super) rule: &'a Rule,
    pub(super) whose: Whose<'a>,
    pub(super) deadline: Instant,
    /// What a lost answer of a forwarded call means.
    pub(super) loss: Loss,
}

impl AdminCall<'_> {
    /// Serves the call with `serve` if this node leads, or forwards `request`. The row is that of the queue, where one is named.
    ///
    /// # Errors
    /// The last attempt's.
    pub(super) async fn run<Q, A, F, S>(&self, request: &Q, mut serve: S) -> Result<Response<A>, Status>
    where
        Q: prost::Message + Clone + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
        F: Future<Output = Result<A, Status>>,
        S: FnMut(Arc<Shard>, Option<QueueEntry>) -> F,
    {
        loop {
            let outcome = self.attempt(request, &mut serve).await;
            let Err(error) = &outcome else { return outcome };
            let moved = [Reason::NotLeader, Reason::NoLeader, Reason::PeerUnreachable, Reason::QueueNotReady];
            let again = moved.into_iter().any(|reason| status::is(error, reason));
            if self.caller.forwarded || !again || Instant::now() + PAUSE >= self.deadline {
                return outcome;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn attempt<Q, A, F, S>(&self, request: &Q, serve: &mut S) -> Result<Response<A>, Status>
    where
        Q: prost::Message + Clone + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
        F: Future<Output = Result<A, Status>>,
        S: FnMut(Arc<Shard>, Option<QueueEntry>) -> F,
    {
        let entry = match self.whose {
            Whose::Catalog => None,
            Whose::Queue { namespace, name } => Some(router::find_fresh(self.state, namespace, name).await?),
        };
        let group = entry.as_ref().map_or(CATALOG, |entry| entry.group);
        match router::lead(self.state, self.caller, group).await? {
            Leader::Here(shard) => serve(shard, entry).await.map(Response::new),
            Leader::There(to) => {
                forward::unary(self.caller, &to, self.rule, request.clone(), self.loss, left(self.deadline))
                    .await
            }
        }
    }
}

/// Time until then.
pub(super) fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
