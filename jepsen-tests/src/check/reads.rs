//! Reads are linearizable: they show what was over before they began, and nothing that began after they ended; and a later read shows no less than
//! an earlier one.

use std::collections::BTreeMap;

use super::Finding;
use super::most::Most;
use crate::history::{F, Index, Op, runs};

pub(super) fn check(index: &Index) -> Finding {
    let mut finding = Finding::new("reads");
    for queue in index.queues.keys() {
        let reads: Vec<&Op> = index.of(queue, F::Read).filter(|op| op.is_ok()).collect();
        let peeks: Vec<&Op> = index.of(queue, F::Peek).filter(|op| op.is_ok()).collect();
        if reads.is_empty() && peeks.is_empty() {
            continue;
        }
        let known = Known::new(index, queue);
        for read in &reads {
            known.figures(read, &mut finding);
        }
        type Figure = fn(&Op) -> Option<u64>;
        let figures: [(&str, Figure); 3] = [
            ("sent", |op| op.facts.sent),
            ("acknowledged", |op| op.facts.acked),
            ("next", |op| op.facts.next),
        ];
        for (what, figure) in figures {
            never_less(queue, what, &reads, figure, &mut finding);
        }
        for peek in &peeks {
            known.messages(peek, &mut finding);
        }
        finding.count("reads", reads.len());
        finding.count("peeks", peeks.len());
    }
    finding
}

/// Places of beginnings and ends, sorted: how many there were at some moment.
struct Span {
    /// Ends of what happened for certain.
    done: Vec<usize>,
    /// Beginnings of what may have happened.
    begun: Vec<usize>,
}

impl Span {
    fn of<'a>(ops: impl Iterator<Item = &'a Op> + Clone) -> Self {
        let mut done: Vec<usize> = ops.clone().filter(|op| op.is_ok()).map(|op| op.ended).collect();
        let mut begun: Vec<usize> = ops.filter(|op| op.is_possible()).map(|op| op.began).collect();
        done.sort_unstable();
        begun.sort_unstable();
        Self { done, begun }
    }

    /// Fewest and most that a read may count.
    fn bounds(&self, read: &Op) -> (u64, u64) {
        let before = |places: &[usize], place| places.partition_point(|known| *known < place) as u64;
        (before(&self.done, read.began), before(&self.begun, read.ended))
    }
}

/// What is known of a queue.
struct Known<'a> {
    queue: &'a str,
    sends: Span,
    acks: Span,
    /// Confirmed sends by their places.
    places: BTreeMap<u64, &'a Op>,
    /// The highest place that was confirmed.
    highest: Most,
    /// Of each message, when its first acknowledgement began, and when the first that happened ended.
    gone: BTreeMap<u64, (usize, usize)>,
}

impl<'a> Known<'a> {
    fn new(index: &'a Index, queue: &'a str) -> Self {
        let sends = index.of(queue, F::Enqueue);
        let confirmed = sends.clone().filter(|op| op.is_ok());
        let placed = confirmed.filter_map(|op| Some((op.facts.sequence?, op)));
        let mut gone: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
        for ack in index.of(queue, F::Ack).filter(|ack| ack.is_possible()) {
            let times = gone.entry(ack.value.unwrap_or_default()).or_insert((usize::MAX, usize::MAX));
            // What has no known end ends last.
            *times = (times.0.min(ack.began), times.1.min(ack.ended));
        }
        Self {
            queue,
            sends: Span::of(sends),
            acks: Span::of(index.of(queue, F::Ack)),
            highest: Most::new(placed.clone().map(|(sequence, op)| (op.ended, sequence))),
            places: placed.collect(),
            gone,
        }
    }

    fn figures(&self, read: &Op, finding: &mut Finding) {
        let (sent, acked) = (self.sends.bounds(read), self.acks.bounds(read));
        let depth = (sent.0.saturating_sub(acked.1), sent.1.saturating_sub(acked.0));
        let figures = [
            ("sent", read.facts.sent, sent),
            ("acknowledged", read.facts.acked, acked),
            ("there", read.facts.depth, depth),
        ];
        for (what, figure, (least, most)) in figures {
            if let Some(figure) = figure.filter(|figure| !(least..=most).contains(figure)) {
                finding.fault(format!(
                    "{}: event {} read {figure} messages {what}: it was {least} to {most}",
                    self.queue, read.ended
                ));
            }
        }
        let highest = self.highest.before(read.began).unwrap_or_default();
        if read.facts.next.is_some_and(|next| next <= highest) {
            finding.fault(format!(
                "{}: event {} read next place {:?} after {highest} was given",
                self.queue, read.ended, read.facts.next
            ));
        }
    }

    /// A page shows the messages that are there, and no others.
    fn messages(&self, peek: &Op, finding: &mut Finding) {
        let shown = runs(peek.facts.seen.as_deref().unwrap_or(""));
        let is_shown = |place: u64| shown.iter().any(|(first, last)| (*first..=*last).contains(&place));
        let end = peek.facts.next.unwrap_or(u64::MAX);
        for (place, send) in self.places.range(..end) {
            let value = send.value.unwrap_or_default();
            let (ack_began, ack_ended) = self.gone.get(&value).copied().unwrap_or((usize::MAX, usize::MAX));
            let what = match is_shown(*place) {
                true if ack_ended < peek.began => "was acknowledged, and is shown",
                true if send.began > peek.ended => "was sent later, and is shown",
                false if send.ended < peek.began && ack_began > peek.ended => "is there, and is not shown",
                _ => continue,
            };
            finding.fault(format!("{}: event {}: {value} at {place} {what}", self.queue, peek.ended));
        }
        finding.count("seen", shown.iter().map(|(first, last)| (last - first + 1) as usize).sum());
    }
}

/// What was ever counted stays counted.
fn never_less(
    queue: &str,
    what: &str,
    reads: &[&Op],
    figure: impl Fn(&Op) -> Option<u64>,
    finding: &mut Finding,
) {
    let most = Most::new(reads.iter().filter_map(|read| Some((read.ended, figure(read)?))));
    for read in reads {
        let (Some(before), Some(now)) = (most.before(read.began), figure(read)) else { continue };
        if now < before {
            finding.fault(format!(
                "{queue}: event {} read {now} as {what}, and {before} had been read before",
                read.ended
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::story::{Begun, Story};
    use crate::history::{F, Facts, Kind, ranges};

    const NAME: &str = "reads";

    /// What a queue is at some moment.
    #[derive(Clone, Default, PartialEq)]
    struct State {
        sent: u64,
        acked: u64,
        /// Places; a message's number is its place.
        there: Vec<u64>,
    }

    fn read(story: &mut Story, begun: Begun, state: &State) {
        let facts = Facts {
            sent: Some(state.sent),
            acked: Some(state.acked),
            depth: Some(state.there.len() as u64),
            next: Some(state.sent + 1),
            ..Facts::default()
        };
        story.end(begun, Kind::Ok, None, facts);
    }

    fn look(story: &mut Story, begun: Begun, state: &State) {
        let seen = Some(ranges(state.there.iter().copied()));
        story.end(begun, Kind::Ok, None, Facts { seen, ..Facts::default() });
    }

    /// Does something, with or without an answer that came, perhaps while somebody reads; the states since the beginning of the read.
    fn act(story: &mut Story, state: &mut State, step: u8) -> Vec<State> {
        let is_peek = step & 1 == 1;
        let begun = story.begin(if is_peek { F::Peek } else { F::Read }, None, Facts::default());
        let mut states = vec![state.clone()];
        for part in [step >> 1, step >> 4] {
            match part % 4 {
                0 | 1 => {
                    state.sent += 1;
                    state.there.push(state.sent);
                    story.sent(state.sent, state.sent);
                }
                2 if !state.there.is_empty() => {
                    state.acked += 1;
                    let place = state.there.remove(0);
                    story.acked(place, place);
                }
                _ => continue,
            }
            states.push(state.clone());
        }
        // It shows some moment of its own time.
        let shown = &states[usize::from(step) % states.len()];
        if is_peek {
            look(story, begun, shown)
        } else {
            read(story, begun, shown)
        }
        states
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn what_a_read_may_show_is_accepted_and_a_planted_stale_read_is_found(
            steps in proptest::collection::vec(any::<u8>(), 2..40),
            age in 1_usize..10,
            is_peek in any::<bool>(),
        ) {
            let mut story = Story::of_class("plain");
            let mut state = State::default();
            let mut past = vec![state.clone()];
            for step in steps {
                past.extend(act(&mut story, &mut state, step).split_off(1));
            }
            story.valid(NAME);
            // A moment that was over before this read began, and that is not like the present one.
            let Some(stale) = past.iter().rev().skip(age).find(|old| match is_peek {
                true => old.there != state.there,
                false => old.sent != state.sent || old.acked != state.acked,
            }) else { return Ok(()) };
            let begun = story.begin(if is_peek { F::Peek } else { F::Read }, None, Facts::default());
            if is_peek { look(&mut story, begun, stale) } else { read(&mut story, begun, stale) }
            story.invalid(NAME);
        }
    }

    #[test]
    fn a_read_of_the_future_is_found() {
        let told = |sent| {
            let mut story = Story::of_class("plain");
            let state = State { sent, acked: 0, there: (1..=sent).collect() };
            let begun = story.begin(F::Read, None, Facts::default());
            read(&mut story, begun, &state);
            story.sent(1, 1);
            story
        };
        told(0).valid(NAME);
        told(1).invalid(NAME);
    }

    #[test]
    fn a_page_is_held_to_what_it_covers() {
        let told = |next| {
            let mut story = Story::of_class("plain");
            story.sent(1, 1).sent(2, 2);
            let begun = story.begin(F::Peek, None, Facts::default());
            story.end(begun, Kind::Ok, None, Facts { seen: Some("1".into()), next, ..Facts::default() });
            story
        };
        told(Some(2)).valid(NAME);
        told(None).invalid(NAME);
    }
}
