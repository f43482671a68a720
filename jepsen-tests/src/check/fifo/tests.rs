use super::super::story::Story;
use super::super::wgl::is_linearizable;
use super::*;
use proptest::prelude::*;

/// Any history of distinct messages: places of beginnings and ends are a shuffle.
fn any_history() -> impl Strategy<Value = Vec<Call>> {
    let shape = (1_usize..7, 0_usize..3, any::<u64>(), proptest::collection::vec(0_u8..4, 7));
    shape.prop_flat_map(|(values, empties, _, taken)| {
        let mut calls = Vec::new();
        for (value, is_taken) in taken.into_iter().take(values).enumerate() {
            calls.push((true, Some(value as u64), false));
            if is_taken > 0 {
                calls.push((false, Some(value as u64), false));
            }
        }
        calls.extend((0..empties).map(|_| (false, None, false)));
        let places: Vec<usize> = (0..calls.len() * 2).collect();
        (Just(calls), Just(places).prop_shuffle(), proptest::collection::vec(0_u8..8, 20)).prop_map(
            |(calls, places, lost)| {
                let of = |(number, (is_enqueue, value, _)): (usize, (bool, Option<u64>, bool))| {
                    let (a, b) = (places[number * 2], places[number * 2 + 1]);
                    // Some sends have no answer.
                    let is_lost = is_enqueue && lost[number % 20] == 0;
                    let ended = if is_lost { usize::MAX } else { a.max(b) };
                    Call { is_enqueue, value, began: a.min(b), ended }
                };
                calls.into_iter().enumerate().map(of).collect()
            },
        )
    })
}

/// A history that a queue had, with intervals around the moments of its operations.
fn queue_history() -> impl Strategy<Value = Vec<Call>> {
    proptest::collection::vec((any::<bool>(), 0_usize..8, 0_usize..8), 1..30).prop_map(|steps| {
        let mut queue = std::collections::VecDeque::new();
        let mut next = 0;
        let mut calls = Vec::new();
        for (at, (is_enqueue, before, after)) in steps.into_iter().enumerate() {
            let value = if is_enqueue {
                next += 1;
                queue.push_back(next);
                Some(next)
            } else {
                queue.pop_front()
            };
            let at = 200 + at * 10;
            // Never at one place with another.
            calls.push(Call { is_enqueue, value, began: at - before * 10 + 1, ended: at + after * 10 + 2 });
        }
        calls
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    #[test]
    fn the_fast_check_and_the_search_agree(history in any_history()) {
        let searched = is_linearizable(&history);
        prop_assert_eq!(Some(Lives::of(&history).check().is_ok()), searched, "{:?}", history);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn what_a_queue_did_is_accepted_by_both(history in queue_history()) {
        prop_assert_eq!(Lives::of(&history).check(), Ok(()));
        prop_assert!(is_linearizable(&history) != Some(false));
    }

    #[test]
    fn two_takes_that_change_places_are_noticed_by_both_or_by_none(history in queue_history(), at in any::<prop::sample::Index>()) {
        let mut history = history;
        let takes: Vec<usize> =
            (0..history.len()).filter(|n| !history[*n].is_enqueue && history[*n].value.is_some()).collect();
        if takes.len() >= 2 {
            let n = at.index(takes.len() - 1);
            let (a, b) = (takes[n], takes[n + 1]);
            (history[a].value, history[b].value) = (history[b].value, history[a].value);
            if let Some(searched) = is_linearizable(&history) {
                prop_assert_eq!(Lives::of(&history).check().is_ok(), searched, "{:?}", history);
            }
        }
    }
}

const NAME: &str = "fifo";

fn two() -> Story {
    let mut story = Story::of_class("fifo");
    story.sent(1, 1).sent(2, 2);
    story
}

#[test]
fn a_planted_swap_is_found() {
    two().given(1, 1, 1, 1).given(2, 2, 2, 1).valid(NAME);
    two().given(2, 2, 1, 1).given(1, 1, 2, 1).invalid(NAME);
    two().given(2, 2, 1, 1).given(1, 1, 2, 1).invalid("fifo-by-search");
}

#[test]
fn a_planted_empty_receive_is_found() {
    two().given(1, 1, 1, 1).given(2, 2, 2, 1).empty().valid(NAME);
    two().given(1, 1, 1, 1).empty().given(2, 2, 2, 1).invalid(NAME);
}

#[test]
fn what_a_lost_answer_took_may_come_later() {
    let mut story = two();
    let lost = story.begin(F::Dequeue, None, crate::history::Facts::default());
    story.end(lost, Kind::Info, None, crate::history::Facts::default());
    story.given(2, 2, 2, 1);
    let again = crate::history::Facts { attempt: Some(2), again: Some(1), ..Default::default() };
    story.given_as(1, 1, 3, 1, again).valid(NAME);
}

#[test]
fn a_hundred_thousand_operations_take_no_time() {
    let mut history = Vec::new();
    for n in 0..50_000 {
        let (value, at) = (Some(n as u64), n * 10);
        history.push(Call { is_enqueue: true, value, began: at, ended: at + 25 });
        history.push(Call { is_enqueue: false, value, began: at + 12, ended: at + 49 });
    }
    let begin = std::time::Instant::now();
    assert_eq!(Lives::of(&history).check(), Ok(()));
    assert!(begin.elapsed() < std::time::Duration::from_secs(5), "{:?}", begin.elapsed());
}
