//! No second message for one producer sequence, request id or deduplication id.

use std::collections::BTreeMap;

use super::Index;
use crate::history::{History, Identity};

/// How long request ids are remembered, ms of machine time.
const REQUEST_WINDOW_US: u64 = 120_000_000;

pub(super) fn check(_: &History, index: &Index) -> Result<(), String> {
    let exempt = forgotten(index);
    one_place_for_each_message(index, &exempt)?;
    one_message_for_each_id(index)
}

/// Messages whose request may have been forgotten between two attempts: machine time jumped, or it took too long.
pub(super) fn forgotten(index: &Index) -> Vec<u64> {
    let mut spans: BTreeMap<u64, (usize, usize, u64, u64)> = BTreeMap::new();
    for send in &index.sends {
        if let Identity::Request(request) = send.call.identity {
            let span = send.span;
            let whole =
                spans.entry(request).or_insert((span.began, span.ended, span.began_us, span.ended_us));
            whole.1 = whole.1.max(span.ended);
            whole.3 = whole.3.max(span.ended_us);
        }
    }
    let mut messages = Vec::new();
    for send in &index.sends {
        let Identity::Request(request) = send.call.identity else { continue };
        let (began, ended, began_us, ended_us) = spans[&request];
        if index.jumped(began, ended) || ended_us.saturating_sub(began_us) > REQUEST_WINDOW_US / 100 * 95 {
            messages.extend(send.call.messages.iter().map(|message| message.message));
        }
    }
    messages
}

fn one_place_for_each_message(index: &Index, exempt: &[u64]) -> Result<(), String> {
    let mut places: BTreeMap<u64, (u64, String)> = BTreeMap::new();
    let mut note = |message: u64, sequence: u64, source: String| {
        let (before, first) = places.entry(message).or_insert((sequence, source.clone()));
        if *before == sequence || exempt.contains(&message) {
            return Ok(());
        }
        Err(format!("message {message} is at {before} ({first}) and at {sequence} ({source})"))
    };
    for send in &index.sends {
        for (message, placed) in send.call.messages.iter().zip(send.known().into_iter().flatten()) {
            if !placed.duplicate {
                note(message.message, placed.sequence, format!("op {}", send.op))?;
            }
        }
    }
    for delivery in &index.deliveries {
        note(delivery.given.message, delivery.given.sequence, format!("{:?}", delivery.given))?;
    }
    Ok(())
}

/// The window of every queue is longer than a run.
fn one_message_for_each_id(index: &Index) -> Result<(), String> {
    let mut kept: BTreeMap<(u64, u64), (u64, String)> = BTreeMap::new();
    let mut note = |queue: u64, dedup: Option<u64>, sequence: u64, source: String| {
        let Some(dedup) = dedup else { return Ok(()) };
        let (before, first) = kept.entry((queue, dedup)).or_insert((sequence, source.clone()));
        if *before == sequence {
            return Ok(());
        }
        Err(format!(
            "deduplication id {dedup} of queue {queue} is at {before} ({first}) and at {sequence} ({source})"
        ))
    };
    for send in &index.sends {
        for (message, placed) in send.call.messages.iter().zip(send.known().into_iter().flatten()) {
            // A duplicate's answer names the one that was kept.
            note(send.call.queue, message.dedup, placed.sequence, format!("op {}", send.op))?;
        }
    }
    for delivery in &index.deliveries {
        let dedup = index.messages.get(&delivery.given.message).and_then(|(_, sending)| sending.dedup);
        note(delivery.given.queue, dedup, delivery.given.sequence, format!("{:?}", delivery.given))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::story::{Story, sending};
    use crate::history::{Identity, Sending};

    const NAME: &str = "dedup";

    #[test]
    fn a_message_has_one_place() {
        let mut story = Story::new();
        story.plain(1, 1).delivered(1, 1, 1, 1).check(NAME, true);
        let mut twice = Story::new();
        twice.add(crate::history::What::Send {
            op: 90,
            queue: 1,
            identity: Identity::Request(4),
            messages: vec![sending(1)],
        });
        twice.delivered(1, 1, 1, 1).acked(1, 1).delivered(1, 2, 1, 2);
        let broken: Vec<String> =
            super::super::check(&twice.end()).into_iter().map(|v| v.invariant).collect();
        assert!(broken.contains(&NAME.to_owned()), "{broken:?}");
    }

    #[test]
    fn a_deduplication_id_has_one_place() {
        let with_id = |message| Sending { dedup: Some(5), ..sending(message) };
        let mut story = Story::new();
        story.sent(Identity::Request(1), with_id(1), 1);
        story.clone().plain(2, 2).check(NAME, true);
        story.sent(Identity::Request(2), with_id(2), 2).check(NAME, false);
    }
}
