//! Answering a unary call where its queue is led: here, or by forwarding it once.
//!
//! What was certainly not written is tried again within the caller's deadline, so that a change of leader shows as a delay. A call that
//! was forwarded to this node is answered here or not at all.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;
use tonic::{Response, Status};

use crate::authorize::Rule;
use crate::caller::Caller;
use crate::forward::{self, Loss};
use crate::router::{self, Local, Route};
use crate::state::NodeState;
use crate::status::{self, Reason};

/// First pause between two attempts; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// Longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_millis(320);

/// One unary call.
pub struct Call<'a> {
    /// This node.
    pub state: &'a NodeState,
    /// Who calls.
    pub caller: &'a Caller,
    /// What it is called as.
    pub rule: &'a Rule,
    /// Of the queue.
    pub namespace: &'a str,
    /// Of the queue.
    pub queue: &'a str,
    /// The answer must be there by then.
    pub deadline: Instant,
    /// What a lost answer of a forwarded call means.
    pub loss: Loss,
}

/// Serves a call with `serve` where its queue is led here, or forwards `request`.
///
/// # Errors
/// The last attempt's.
pub async fn at_leader<Q, A, F, S>(call: &Call<'_>, request: &Q, mut serve: S) -> Result<Response<A>, Status>
where
    Q: prost::Message + Clone + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
    F: Future<Output = Result<A, Status>>,
    S: FnMut(Local) -> F,
{
    let mut pause = PAUSE_MIN;
    loop {
        let outcome = attempt(call, request, &mut serve).await;
        let Err(error) = outcome else { return outcome };
        if call.caller.forwarded
            || !call.may_try_again(&error).await?
            || Instant::now() + pause >= call.deadline
        {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn attempt<Q, A, F, S>(call: &Call<'_>, request: &Q, serve: &mut S) -> Result<Response<A>, Status>
where
    Q: prost::Message + Clone + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
    F: Future<Output = Result<A, Status>>,
    S: FnMut(Local) -> F,
{
    match router::resolve(call.state, call.caller, call.namespace, call.queue).await? {
        Route::Local(local) => serve(local).await.map(Response::new),
        Route::Remote(remote) => {
            let left = call.deadline.saturating_duration_since(Instant::now());
            forward::unary(call.caller, &remote, call.rule, request.clone(), call.loss, left).await
        }
    }
}

impl Call<'_> {
    /// Whether nothing was written and another attempt may go better.
    async fn may_try_again(&self, error: &Status) -> Result<bool, Status> {
        if status::is(error, Reason::QueueGone) {
            return self.has_successor(error).await;
        }
        let moved = [Reason::NotLeader, Reason::NoLeader, Reason::PeerUnreachable, Reason::QueueNotReady];
        Ok(moved.into_iter().any(|reason| status::is(error, reason)))
    }

    /// A shard says that the queue is gone. This node's copy of the catalog may be behind: the name may belong to another one now.
    async fn has_successor(&self, gone: &Status) -> Result<bool, Status> {
        let known = router::lookup(self.state, self.namespace, self.queue).map(|entry| entry.uid);
        let fresh = router::find_fresh(self.state, self.namespace, self.queue).await?;
        if known == Some(fresh.uid) { Err(gone.clone()) } else { Ok(true) }
    }
}
