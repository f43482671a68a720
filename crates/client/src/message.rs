//! Messages: what producers say and consumers get.

use std::collections::BTreeMap;

use bytes::Bytes;
use phalanx_proto::v1;

/// A message: a body, and what describes it.
///
/// ```
/// use phalanx_client::Message;
///
/// let message = Message::new("three anvils").group("customer-17").header("tenant", "acme");
/// assert_eq!(&message.body[..], b"three anvils");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Opaque to the server. At most 1 MiB, unless the queue says otherwise.
    pub body: Bytes,
    /// Free for applications, kept as they are.
    pub headers: BTreeMap<String, Bytes>,
    /// Of the body; free text, such as `application/json`.
    pub content_type: String,
    /// Ordering key: messages with the same key are settled in order, one holder at a time. Empty: none.
    pub group: Bytes,
    /// Suppresses repeats inside the queue's deduplication window. Empty: none. At most 256 bytes.
    pub deduplication_id: String,
    /// Names the conversation; for applications.
    pub correlation_id: String,
    /// Where an answer is expected; for applications.
    pub reply_to: String,
    /// W3C trace context.
    pub traceparent: String,
    /// To a topic: words between dots, which the patterns of subscriptions look at. At most 255 bytes.
    pub routing_key: String,
}

impl Message {
    /// A message with this body and nothing else.
    #[must_use]
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// With an ordering key.
    #[must_use]
    pub fn group(mut self, key: impl Into<Bytes>) -> Self {
        self.group = key.into();
        self
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// With a content type.
    #[must_use]
    pub fn content_type(mut self, value: impl Into<String>) -> Self {
        self.content_type = value.into();
        self
    }

    /// With a deduplication id.
    #[must_use]
    pub fn deduplication_id(mut self, value: impl Into<String>) -> Self {
        self.deduplication_id = value.into();
        self
    }

    /// With a correlation id.
    #[must_use]
    pub fn correlation_id(mut self, value: impl Into<String>) -> Self {
        self.correlation_id = value.into();
        self
    }

    /// With a place for the answer.
    #[must_use]
    pub fn reply_to(mut self, value: impl Into<String>) -> Self {
        self.reply_to = value.into();
        self
    }

    /// With a W3C trace context.
    #[must_use]
    pub fn traceparent(mut self, value: impl Into<String>) -> Self {
        self.traceparent = value.into();
        self
    }

    /// With a routing key, for a topic.
    #[must_use]
    pub fn routing_key(mut self, value: impl Into<String>) -> Self {
        self.routing_key = value.into();
        self
    }

    /// What the message counts for in windows of bytes: its body and all that describes it.
    #[must_use]
    pub fn size(&self) -> usize {
        self.body.len()
            + self.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
            + self.content_type.len()
            + self.group.len()
            + self.deduplication_id.len()
            + self.correlation_id.len()
            + self.reply_to.len()
            + self.traceparent.len()
            + self.routing_key.len()
    }
}

macro_rules! from_body {
    ($($body:ty),*) => {$(
        impl From<$body> for Message {
            fn from(body: $body) -> Self {
                Self::new(body)
            }
        }
    )*};
}
from_body!(Bytes, Vec<u8>, String, &'static str, &'static [u8]);

impl Message {
    pub(crate) fn into_wire(self) -> v1::Message {
        v1::Message {
            body: self.body,
            headers: self.headers.into_iter().collect(),
            content_type: self.content_type,
            group: self.group,
            deduplication_id: self.deduplication_id,
            correlation_id: self.correlation_id,
            reply_to: self.reply_to,
            traceparent: self.traceparent,
            routing_key: self.routing_key,
        }
    }

    pub(crate) fn from_wire(message: v1::Message) -> Self {
        Self {
            body: message.body,
            headers: message.headers.into_iter().collect(),
            content_type: message.content_type,
            group: message.group,
            deduplication_id: message.deduplication_id,
            correlation_id: message.correlation_id,
            reply_to: message.reply_to,
            traceparent: message.traceparent,
            routing_key: message.routing_key,
        }
    }
}

/// The server's answer to one message: it is on disk on a majority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its place in the queue; for a duplicate, the place of the message that was kept.
    pub sequence: u64,
    /// Its deduplication id had been seen: it was not appended again.
    pub duplicate: bool,
    /// To a topic: how many subscriptions the messages of its batch matched, all of them together.
    pub matched: u64,
}

/// One [`Sent`] for each message of a batch, from the server's answer for the batch.
pub(crate) fn sent_of(response: &v1::SendResponse, messages: usize) -> impl Iterator<Item = Sent> + '_ {
    let mut duplicates = response.duplicates.iter().peekable();
    let (mut next, matched) = (response.first_sequence, response.matched);
    (0..messages).map(move |position| match duplicates.next_if(|d| d.position as usize == position) {
        Some(duplicate) => Sent { sequence: duplicate.original_sequence, duplicate: true, matched },
        None => {
            let sequence = next;
            next += 1;
            Sent { sequence, duplicate: false, matched }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_skip_the_duplicates_of_a_batch() {
        let response = v1::SendResponse {
            first_sequence: 10,
            count: 2,
            duplicates: vec![v1::Duplicate { position: 1, original_sequence: 3 }],
            ..v1::SendResponse::default()
        };
        let sent: Vec<(u64, bool)> = sent_of(&response, 3).map(|s| (s.sequence, s.duplicate)).collect();
        assert_eq!(sent, [(10, false), (3, true), (11, false)]);
    }

    #[test]
    fn a_message_is_the_same_after_the_wire() {
        let message = Message::new("body")
            .group("g")
            .header("a", "1")
            .content_type("text/plain")
            .deduplication_id("d")
            .correlation_id("c")
            .reply_to("r")
            .traceparent("t")
            .routing_key("k");
        assert_eq!(Message::from_wire(message.clone().into_wire()), message);
    }
}
