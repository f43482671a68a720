//! Reads are linearizable: totals hold everything that was over before the read began, and nothing that began after it ended.

use super::Index;
use crate::history::{Action, End, History, Settled};

pub(super) fn check(_: &History, index: &Index) -> Result<(), String> {
    for read in &index.reads {
        let Some(totals) = read.known() else { continue };
        let mut least = std::collections::BTreeSet::new();
        let mut most = std::collections::BTreeSet::new();
        for send in index.sends.iter().filter(|send| send.call.queue == read.call) {
            for (at, message) in send.call.messages.iter().enumerate() {
                if send.span.began < read.span.ended && !matches!(send.end, End::Refused(_)) {
                    most.insert(message.message);
                }
                let placed = send.known().and_then(|placed| placed.get(at));
                if send.span.ended < read.span.began && placed.is_some_and(|placed| !placed.duplicate) {
                    least.insert(message.message);
                }
            }
        }
        // An answer from memory may outlive what was forgotten: then a message may be there twice.
        let most = if index.jumps.is_empty() { most.len() as u64 } else { u64::MAX };
        if !(least.len() as u64..=most).contains(&totals.sent) {
            return Err(format!(
                "op {} of queue {} read {totals:?}: between {} and {most} were sent",
                read.op,
                read.call,
                least.len()
            ));
        }
        let acked = index.settles.iter().filter(|settle| {
            settle.call.queue == read.call
                && settle.call.action == Action::Ack
                && settle.end == End::Known(Settled::Done)
                && settle.span.ended < read.span.began
        });
        let tokens: std::collections::BTreeSet<u64> = acked.map(|settle| settle.call.token).collect();
        if (tokens.len() as u64) > totals.acked {
            return Err(format!(
                "op {} of queue {} read {totals:?}: {} were acknowledged before",
                read.op,
                read.call,
                tokens.len()
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::story::Story;
    use crate::history::{End, Totals, What};

    const NAME: &str = "reads-are-linearizable";

    fn told(sent: u64, acked: u64) -> Story {
        let mut story = Story::new();
        story.plain(1, 1).plain(2, 2).delivered(1, 1, 1, 1).acked(1, 1);
        let op = story.begin(|op| What::Read { op, queue: 1 });
        story.plain(3, 3);
        story.add(What::ReadEnd { op, end: End::Known(Totals { sent, acked }) });
        story.plain(4, 4);
        story
    }

    #[test]
    fn a_read_shows_what_was_over_and_may_show_what_was_under_way() {
        told(2, 1).check(NAME, true);
        told(3, 1).check(NAME, true);
    }

    #[test]
    fn a_stale_read_and_one_of_the_future_are_rejected() {
        told(1, 1).check(NAME, false);
        told(2, 0).check(NAME, false);
        told(4, 1).check(NAME, false);
    }
}
