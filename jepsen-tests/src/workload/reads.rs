//! Reads of what is in a queue.

use std::time::Duration;

use phalanx_client::{Client, Error, Peek, PeekPage};
use rand::Rng as _;

use super::Role;
use super::client::Scribe;
use crate::history::{F, Facts, Kind, Open, ranges};

/// Messages that are looked at in one call: more than there usually are.
const PEEK_MAX: u32 = 200;

impl Scribe {
    async fn read(&self, client: &Client) -> Result<(), Error> {
        let open = self.recorder.begin(F::Read, None, self.facts());
        let info = client.admin().queue_info(&self.queue).await;
        self.looked(open, info, |info| Facts {
            sent: Some(info.sent_total),
            acked: Some(info.acked_total),
            depth: Some(info.ready + info.leased),
            next: Some(info.next_sequence),
            node: Some(info.leader_node),
            ..Facts::default()
        })
    }

    async fn peek(&self, client: &Client) -> Result<(), Error> {
        let open = self.recorder.begin(F::Peek, None, self.facts());
        let page = client.admin().peek(&self.queue, Peek { max_messages: PEEK_MAX, ..Peek::default() }).await;
        self.looked(open, page, |page: PeekPage| Facts {
            seen: Some(ranges(page.messages.iter().map(|message| message.sequence))),
            next: page.next_sequence,
            ..Facts::default()
        })
    }

    /// A look that failed has shown nothing, and has done nothing.
    fn looked<T>(
        &self,
        open: Open,
        result: Result<T, Error>,
        facts: impl FnOnce(T) -> Facts,
    ) -> Result<(), Error> {
        match result {
            Ok(found) => {
                self.recorder.end(open, Kind::Ok, None, facts(found));
                Ok(())
            }
            Err(error) => {
                self.recorder.end_error(open, false, &error);
                Err(error)
            }
        }
    }
}

/// Reads figures, or looks at messages.
pub async fn read(mut role: Role) {
    while !role.is_over() {
        let result = match role.random.random_bool(0.5) {
            true => role.scribe.read(&role.client).await,
            false => role.scribe.peek(&role.client).await,
        };
        let pause = if result.is_ok() { 10..60 } else { 50..150 };
        let pause = Duration::from_millis(role.random.random_range(pause));
        role.rest(pause).await;
    }
}
