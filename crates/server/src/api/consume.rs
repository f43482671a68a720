//! `Messages.Consume`: a consumer's stream of deliveries, with its settles.
//!
//! The stream's life is the attachment's: it is registered with the dispatcher, attached through the log, served, and detached through
//! the log, whatever happens to the client meanwhile. Invariant: an attach that was proposed is followed by a detach, unless the machine
//! has detached the consumer itself.

mod outbox;
mod session;

use phalanx_proto::v1;
use phalanx_state_machine::command::{Attach, Command, CommandKind};
use phalanx_state_machine::ids::{Id128, QueueUid};
use phalanx_state_machine::limits::CONSUMER_NAME_BYTES_MAX;
use tokio::sync::oneshot;
use tonic::{Request, Response, Status, Streaming};

use super::messages::limits::{
    LEASE_MS_MAX, WINDOW_BYTES_DEFAULT, WINDOW_MESSAGES_DEFAULT, WINDOW_MESSAGES_MAX,
};
use super::messages::{Frames, MessagesApi, first_frame, frames, relay, target, unexpected};
use super::settle::{command as settle_command, items_in, outcomes_out, ranges_in};
use crate::authorize;
use crate::convert;
use crate::router::{self, Route};
use crate::status;

pub(super) async fn consume(
    api: &MessagesApi,
    request: Request<Streaming<v1::ConsumeRequest>>,
) -> Result<Response<Frames<v1::ConsumeResponse>>, Status> {
    let caller = api.caller(&request)?;
    let mut inbound = request.into_inner();
    let mut first = first_frame(&mut inbound).await?;
    let rule = &authorize::CONSUME;
    let (namespace, queue) = match &first.attach {
        Some(attach) => (attach.namespace.as_str(), attach.queue.as_str()),
        None => ("", ""),
    };
    api.state.admit(&caller, rule, &target(namespace, queue))?;
    let attach =
        first.attach.as_ref().ok_or_else(|| status::invalid("attach", "must be in the first frame"))?;
    let namespace = convert::namespace(&attach.namespace)?.to_owned();
    let queue = convert::queue_name("attach.queue", &attach.queue)?.to_owned();
    let wanted = Wanted::from(attach)?;
    let local = match router::resolve(&api.state, &caller, &namespace, &queue).await? {
        Route::Remote(remote) => return relay(&caller, remote, rule, first, inbound).await,
        Route::Local(local) => local,
    };
    first.attach = None;
    let (sender, frames) = frames();
    let (attached, answer) = oneshot::channel();
    // A task of its own: if the client goes away while it attaches, it still has to detach.
    let session = session::Session::new(local, wanted, &api.state);
    tokio::spawn(session.run(first, inbound, sender, attached));
    match answer.await {
        Ok(attached) => attached.map(|()| Response::new(frames)),
        Err(_) => Err(status::internal("the stream's task ended before it began")),
    }
}

/// What a consumer asks for at its attach, checked.
struct Wanted {
    consumer: Id128,
    incarnation: u64,
    name: String,
    window: Window,
    lease_ms: u64,
    held: Vec<phalanx_state_machine::command::TokenRange>,
}

#[derive(Clone, Copy)]
struct Window {
    messages: u32,
    bytes: u64,
}

impl Wanted {
    fn from(attach: &v1::ConsumerAttach) -> Result<Self, Status> {
        if attach.lease_ms > LEASE_MS_MAX {
            let why = format_args!("{} ms, at most {LEASE_MS_MAX}", attach.lease_ms);
            return Err(status::invalid("attach.lease_ms", why));
        }
        if attach.name.len() > CONSUMER_NAME_BYTES_MAX {
            let why = format_args!("{} bytes, at most {CONSUMER_NAME_BYTES_MAX}", attach.name.len());
            return Err(status::invalid("attach.name", why));
        }
        let mut window = Window::of("attach.window", attach.window.unwrap_or_default())?;
        if window.messages == 0 {
            window.messages = WINDOW_MESSAGES_DEFAULT;
        }
        Ok(Self {
            consumer: convert::id("attach.consumer_id", &attach.consumer_id)?,
            incarnation: attach.incarnation,
            name: attach.name.clone(),
            window,
            lease_ms: attach.lease_ms,
            held: ranges_in("attach.held", &attach.held)?,
        })
    }

    fn command(&self, uid: QueueUid) -> Command {
        Command::from(CommandKind::Attach(Attach {
            uid,
            consumer: self.consumer,
            incarnation: self.incarnation,
            name: self.name.clone(),
            window_messages: self.window.messages,
            window_bytes: self.window.bytes,
            lease_ms: self.lease_ms,
            held: self.held.clone(),
        }))
    }
}

impl Window {
    /// A window as clients write it. No messages is a pause, which only a change can ask for; no bytes is the default.
    fn of(field: &str, window: v1::Window) -> Result<Self, Status> {
        if window.messages > WINDOW_MESSAGES_MAX {
            let why = format_args!("messages: {}, at most {WINDOW_MESSAGES_MAX}", window.messages);
            return Err(status::invalid(field, why));
        }
        let bytes = if window.bytes == 0 { WINDOW_BYTES_DEFAULT } else { window.bytes };
        Ok(Self { messages: window.messages, bytes })
    }
}
