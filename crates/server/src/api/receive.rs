//! `Messages.Receive`: leases messages to a caller that keeps no stream, and waits for the first if asked to.
//!
//! The wait is this node's: when something can be received, it proposes again, with the same request id. Invariant: whatever was leased
//! under a request id is what a repetition of the call with that id gets, and it never waits for anything else. After a repetition that was answered
//! with nothing, an earlier attempt that arrives late gets nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use phalanx_proto::v1;
use phalanx_state_machine::command::{Command, CommandKind, Receive};
use phalanx_state_machine::ids::Id128;
use phalanx_state_machine::reply::{Delivery, Reply};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::messages::limits::{
    LEASE_MS_MAX, RECEIVE_ANSWER_MARGIN, RECEIVE_BYTES_MAX, RECEIVE_MESSAGES_MAX, RECEIVE_WAIT_MAX,
};
use super::messages::{Call, MessagesApi, at_leader, deliveries_out, target, unexpected};
use crate::authorize;
use crate::batcher::limits::COMMAND_DEADLINE;
use crate::caller::Caller;
use crate::convert;
use crate::dispatch::{Dispatcher, RegisterError, Waiter, Wake};
use crate::forward::Loss;
use crate::router::Local;
use crate::state::NodeState;
use crate::status;

/// What is asked for, checked.
#[derive(Clone)]
struct Ask {
    consumer: Id128,
    request: Id128,
    messages_max: u32,
    lease_ms: u64,
    /// An earlier attempt may still come.
    repeated: bool,
    /// Nothing to receive: answer by then.
    wait_until: Instant,
    deadline: Instant,
}

pub(super) async fn receive(
    api: &MessagesApi,
    request: Request<v1::ReceiveRequest>,
) -> Result<Response<v1::ReceiveResponse>, Status> {
    let caller = api.caller(&request)?;
    let mut request = request.into_inner();
    api.state.admit(&caller, &authorize::RECEIVE, &target(&request.namespace, &request.queue))?;
    let ask = ask(&api.state, &caller, &mut request)?;
    let namespace = convert::namespace(&request.namespace)?;
    let queue = convert::queue_name("queue", &request.queue)?;
    let (rule, deadline) = (&authorize::RECEIVE, ask.deadline);
    let call =
        Call { state: &api.state, caller: &caller, rule, namespace, queue, deadline, loss: Loss::Write };
    at_leader(&call, &request, |local| serve(&api.state, local, ask.clone())).await
}

/// Checks a request, and gives it a request id if it has none: this node's own repetitions need one.
fn ask(state: &NodeState, caller: &Caller, request: &mut v1::ReceiveRequest) -> Result<Ask, Status> {
    let consumer = convert::id("consumer_id", &request.consumer_id)?;
    let id = match convert::optional_id("request_id", &request.request_id)? {
        Some(id) => id,
        None => own_request_id(state, consumer),
    };
    request.request_id = convert::id_bytes(id);
    if request.max_messages > RECEIVE_MESSAGES_MAX {
        let why = format_args!("{}, at most {RECEIVE_MESSAGES_MAX}", request.max_messages);
        return Err(status::invalid("max_messages", why));
    }
    let wait = Duration::from_millis(request.wait_ms);
    if wait > RECEIVE_WAIT_MAX {
        let why = format_args!("{} ms, at most {}", request.wait_ms, RECEIVE_WAIT_MAX.as_millis());
        return Err(status::invalid("wait_ms", why));
    }
    if request.lease_ms > LEASE_MS_MAX {
        let why = format_args!("{} ms, at most {LEASE_MS_MAX}", request.lease_ms);
        return Err(status::invalid("lease_ms", why));
    }
    let now = Instant::now();
    let deadline = caller.timeout.unwrap_or(wait + COMMAND_DEADLINE).min(RECEIVE_WAIT_MAX + COMMAND_DEADLINE);
    let wait = wait.min(deadline.saturating_sub(RECEIVE_ANSWER_MARGIN));
    Ok(Ask {
        consumer,
        request: id,
        messages_max: request.max_messages.max(1),
        lease_ms: request.lease_ms,
        repeated: request.repeated,
        wait_until: now + wait,
        deadline: now + deadline,
    })
}

/// An id that no client draws and no other call of this node gets: a hash of this disk's id, the clocks and a counter.
fn own_request_id(state: &NodeState, consumer: Id128) -> Id128 {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let mut hash = Sha256::new();
    hash.update(state.identity.store.to_bytes());
    hash.update(consumer.to_bytes());
    hash.update(state.clock.wall_ms().to_be_bytes());
    hash.update(state.clock.monotonic().as_nanos().to_be_bytes());
    hash.update(CALLS.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    let half: [u8; 16] = hash.finalize()[..16].try_into().expect("SHA-256 has 32 bytes");
    Id128::from_bytes(half)
}

async fn serve(state: &NodeState, local: Local, ask: Ask) -> Result<v1::ReceiveResponse, Status> {
    let mut waiter = match ask.wait_until > Instant::now() {
        // Before the first proposal, so that nothing that becomes ready after it is missed.
        true => Some(register(&state.dispatcher, &local, ask.consumer)?),
        false => None,
    };
    loop {
        let is_last = ask.repeated && Instant::now() >= ask.wait_until;
        let (deliveries, repeated) = propose(&local, &ask, is_last).await?;
        if is_last && deliveries.is_empty() {
            return Ok(v1::ReceiveResponse::default());
        }
        if repeated || !deliveries.is_empty() {
            drop(waiter); // the next one looks for what is left, while this one reads bodies
            let deliveries = deliveries_out(&local, deliveries).await?;
            return Ok(v1::ReceiveResponse { deliveries });
        }
        let Some(waiter) = &mut waiter else { return Ok(v1::ReceiveResponse::default()) };
        tokio::select! {
            () = state.stop.cancelled() => return Err(status::unavailable("the node is stopping")),
            wake = waiter.ready() => match wake {
                Wake::Ready => {}
                Wake::Over => return Err(moved(&local)),
            },
            // Once more, as the last.
            () = tokio::time::sleep_until(ask.wait_until), if ask.repeated => {}
            () = tokio::time::sleep_until(ask.wait_until), if !ask.repeated => {
                return Ok(v1::ReceiveResponse::default());
            }
        }
    }
}

/// The deliveries, and whether they are those of a repeated call: there will be no others.
async fn propose(local: &Local, ask: &Ask, is_last: bool) -> Result<(Vec<Delivery>, bool), Status> {
    let receive = Receive {
        uid: local.uid,
        consumer: ask.consumer,
        request: ask.request,
        messages_max: ask.messages_max,
        bytes_max: RECEIVE_BYTES_MAX,
        lease_ms: ask.lease_ms,
        last: is_last,
    };
    let command = Command::from(CommandKind::Receive(receive));
    match local.shard.batcher.enqueue(command, ask.deadline)?.await? {
        Reply::Received { deliveries, repeated } => Ok((deliveries, repeated)),
        other => Err(unexpected(other)),
    }
}

fn register(dispatcher: &Dispatcher, local: &Local, consumer: Id128) -> Result<Waiter, Status> {
    dispatcher.register_waiter(local.shard.id(), local.uid, consumer).map_err(|error| match error {
        RegisterError::NotLeading => moved(local),
        RegisterError::TooMany => status::overloaded(error.to_string(), status::RETRY_OVERLOAD),
    })
}

/// The queue is not here any more: the caller looks again where it is.
fn moved(local: &Local) -> Status {
    let leader = local.shard.group.leadership().borrow().leader.map(|(_, node)| node);
    status::not_leader(local.shard.id(), leader)
}
