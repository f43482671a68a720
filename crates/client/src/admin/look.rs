//! Looking at messages and ordering groups where they are.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use phalanx_proto::v1;

use super::{Admin, time};
use crate::call::Repeat;
use crate::client::queues_client;
use crate::consumer::ReturnReason;
use crate::error::Error;
use crate::id::Id;
use crate::limits;
use crate::message::Message;

/// Which messages [`Admin::peek`] looks at.
///
/// ```
/// use phalanx_client::Peek;
///
/// let of_one_customer = Peek { group: "customer-7".into(), ..Peek::default() };
/// # drop(of_one_customer);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peek {
    /// The first place that is looked at; 0: the oldest message.
    pub from_sequence: u64,
    /// At most this many, 1 to 1,000; 0 stands for 10.
    pub max_messages: u32,
    /// Only messages with this ordering key; empty: all.
    pub group: Bytes,
}

/// Messages where they are, in sequence order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeekPage {
    /// May be fewer than asked for, or none, although there are more: the work and the bytes of one answer are bounded.
    pub messages: Vec<Peeked>,
    /// Where the next page begins; `None`: that was all.
    pub next_sequence: Option<u64>,
}

/// A message that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peeked {
    /// Its place in the queue.
    pub sequence: u64,
    /// When it was sent, by the cluster's clock.
    pub enqueued: SystemTime,
    /// Where it is in its life.
    pub state: PeekState,
    /// Deliveries that count, a present one included.
    pub attempts: u32,
    /// Why its last lease ended; `None`: none has.
    pub returned: Option<ReturnReason>,
    /// The message.
    pub message: Message,
}

/// Where a message is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeekState {
    /// Waits for a consumer, or behind the earlier messages of its group.
    Ready,
    /// Is not offered before some time.
    Delayed {
        /// How long that is from now.
        left: Duration,
    },
    /// In a consumer's hands.
    Leased {
        /// Of the delivery.
        token: u64,
        /// Whose hands.
        holder: Option<Holder>,
        /// How long the lease lasts from now, unless it is extended.
        left: Duration,
    },
    /// A state that this version of the client does not know.
    Other,
}

/// Who holds a message or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its identity; `None` when the server sent none that can be read.
    pub consumer_id: Option<Id>,
    /// For people.
    pub name: String,
}

/// An ordering group with messages. A strict queue is one, with an empty key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderingGroup {
    /// The ordering key.
    pub key: Bytes,
    /// Messages with that key, those in hand included.
    pub messages: u64,
    /// Of these, in a consumer's hands.
    pub leased: u64,
    /// Age of its first message.
    pub oldest_age: Duration,
    /// Who has it in hand; `None`: nobody.
    pub holder: Option<Holder>,
}

impl Admin {
    /// Looks at messages of a queue where they are: nothing is leased or counted, and their order stays. Linearizable.
    ///
    /// # Errors
    /// [`Error::QueueNotFound`].
    pub async fn peek(&self, queue: &str, peek: Peek) -> Result<PeekPage, Error> {
        let key = self.client.key(queue);
        let request = v1::PeekRequest {
            namespace: self.namespace(),
            name: queue.to_owned(),
            from_sequence: peek.from_sequence,
            max_messages: peek.max_messages,
            group: peek.group,
        };
        let response = self
            .client
            .shared
            .call(self.client.shared.to_queue(&key, Repeat::Read), |target, _| {
                let request = request.clone();
                async move { queues_client(&target).peek(request).await }
            })
            .await?;
        let next_sequence = (response.next_sequence != 0).then_some(response.next_sequence);
        Ok(PeekPage {
            messages: response.messages.into_iter().map(Peeked::from_wire).collect(),
            next_sequence,
        })
    }

    /// A page of the ordering groups of a queue that have messages, and the token of the next page (`None`: that was the
    /// last). `page_size` is at most 1,000; a page may hold a few more. The order is the server's own.
    ///
    /// # Errors
    /// [`Error::QueueNotFound`]; [`Error::Invalid`] for a token that no page gave.
    pub async fn groups_page(
        &self,
        queue: &str,
        page_size: u32,
        page_token: Option<String>,
    ) -> Result<(Vec<OrderingGroup>, Option<String>), Error> {
        let key = self.client.key(queue);
        let request = v1::ListGroupsRequest {
            namespace: self.namespace(),
            name: queue.to_owned(),
            page_size,
            page_token: page_token.unwrap_or_default(),
        };
        let response = self
            .client
            .shared
            .call(self.client.shared.to_queue(&key, Repeat::Read), |target, _| {
                let request = request.clone();
                async move { queues_client(&target).list_groups(request).await }
            })
            .await?;
        let next = (!response.next_page_token.is_empty()).then_some(response.next_page_token);
        Ok((response.groups.into_iter().map(OrderingGroup::from_wire).collect(), next))
    }

    /// All ordering groups of a queue that have messages, `most` at most. Groups that come or go while the pages are read may
    /// or may not be among them.
    ///
    /// # Errors
    /// [`Error::QueueNotFound`].
    pub async fn groups(&self, queue: &str, most: usize) -> Result<Vec<OrderingGroup>, Error> {
        let mut groups = Vec::new();
        let mut token = None;
        loop {
            let (page, next) = self.groups_page(queue, limits::PAGE_SIZE, token).await?;
            groups.extend(page);
            if groups.len() >= most || next.is_none() {
                groups.truncate(most);
                return Ok(groups);
            }
            token = next;
        }
    }
}

impl Peeked {
    fn from_wire(peeked: v1::PeekedMessage) -> Self {
        let left = Duration::from_millis(peeked.left_ms);
        let state = match peeked.state() {
            v1::PeekedState::Ready => PeekState::Ready,
            v1::PeekedState::Delayed => PeekState::Delayed { left },
            v1::PeekedState::Leased => {
                let holder = peeked.holder.clone().map(Holder::from_wire);
                PeekState::Leased { token: peeked.token, holder, left }
            }
            v1::PeekedState::Unspecified => PeekState::Other,
        };
        Self {
            sequence: peeked.sequence,
            enqueued: time(peeked.enqueued_ms),
            state,
            attempts: peeked.attempts,
            returned: (peeked.returned != v1::ReturnReason::Unspecified as i32)
                .then(|| ReturnReason::from_wire(peeked.returned)),
            message: Message::from_wire(peeked.message.unwrap_or_default()),
        }
    }
}

impl Holder {
    fn from_wire(holder: v1::Holder) -> Self {
        Self { consumer_id: Id::from_slice(&holder.consumer_id), name: holder.name }
    }
}

impl OrderingGroup {
    fn from_wire(group: v1::QueueGroup) -> Self {
        Self {
            key: group.key,
            messages: group.messages,
            leased: group.leased,
            oldest_age: Duration::from_millis(group.oldest_age_ms),
            holder: group.holder.map(Holder::from_wire),
        }
    }
}
