//! A run second by second: what a soak keeps of it.

use crate::check::{Gap, gaps};
use crate::edn::Edn;
use crate::history::{Event, F, Index};
use crate::nemesis::Fault;

/// One second of the sends of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Second {
    /// Since the beginning.
    pub at: u64,
    /// Sends that were confirmed.
    pub confirmed: u64,
    /// How long half of them took at most, µs.
    pub p50_us: u64,
    /// How long 99 of 100 of them took at most, µs.
    pub p99_us: u64,
}

/// A run, second by second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    /// Those in which something was confirmed.
    pub seconds: Vec<Second>,
    /// Faults: begin, end, ms; their kind.
    pub bands: Vec<(u64, u64, &'static str)>,
    /// Times without a leader.
    pub gaps: Vec<Gap>,
}

/// The kinds of faults, in the order of their declaration.
pub fn kinds() -> Vec<&'static str> {
    let mut kinds: Vec<&'static str> = Vec::new();
    for (fault, ..) in Fault::ALL {
        if !kinds.contains(&fault.kind()) {
            kinds.push(fault.kind());
        }
    }
    kinds
}

fn kind_of(name: &str) -> Option<&'static str> {
    kinds().into_iter().find(|kind| *kind == name)
}

impl Series {
    /// Of a history.
    pub fn of(events: &[Event]) -> Self {
        let index = Index::new(events).unwrap_or_default();
        let last_ns = events.last().map_or(0, |event| event.time_ns);
        let mut took: Vec<(u64, u64)> = Vec::new();
        for send in index.ops.iter().filter(|op| op.f == F::Enqueue && op.is_ok()) {
            took.push((send.ended_ns / 1_000_000_000, (send.ended_ns - send.began_ns) / 1_000));
        }
        took.sort_unstable();
        let seconds = took.chunk_by(|a, b| a.0 == b.0).map(|sends| {
            let at = |percent: usize| sends[(sends.len() * percent / 100).min(sends.len() - 1)].1;
            Second { at: sends[0].0, confirmed: sends.len() as u64, p50_us: at(50), p99_us: at(99) }
        });
        let bands = index.bands().into_iter().filter_map(|(begin, end, fault)| {
            let kind = fault.facts.note.as_deref()?.split_whitespace().next().and_then(kind_of)?;
            Some((begin / 1_000_000, end.min(last_ns) / 1_000_000, kind))
        });
        Self { seconds: seconds.collect(), bands: bands.collect(), gaps: gaps(&index) }
    }

    /// As `series.edn` has it.
    pub fn to_edn(&self) -> Edn {
        let row = |numbers: &[u64], word: Option<&str>| {
            let numbers = numbers.iter().map(|number| Edn::from(*number));
            Edn::List(numbers.chain(word.map(Edn::word)).collect())
        };
        let seconds = self.seconds.iter();
        let seconds =
            seconds.map(|second| row(&[second.at, second.confirmed, second.p50_us, second.p99_us], None));
        let bands = self.bands.iter().map(|(begin, end, kind)| row(&[*begin, *end], Some(kind)));
        let gaps = self.gaps.iter().map(|gap| row(&[gap.began_ns, gap.took_ms], Some(gap.kind)));
        Edn::map([
            ("seconds", Edn::List(seconds.collect())),
            ("bands", Edn::List(bands.collect())),
            ("gaps", Edn::List(gaps.collect())),
        ])
    }

    /// What [`Series::to_edn`] wrote; what is not understood is left out.
    pub fn from_edn(edn: &Edn) -> Self {
        let rows = |name: &str| match edn.get(name) {
            Some(Edn::List(rows)) => rows.clone(),
            _ => Vec::new(),
        };
        let read = |row: &Edn| {
            let Edn::List(items) = row else { return (Vec::new(), None) };
            let numbers: Vec<u64> = items.iter().filter_map(Edn::as_u64).collect();
            (numbers, items.last().and_then(Edn::as_str).and_then(kind_of))
        };
        let mut series = Self::default();
        for row in rows("seconds") {
            if let [at, confirmed, p50_us, p99_us] = read(&row).0[..] {
                series.seconds.push(Second { at, confirmed, p50_us, p99_us });
            }
        }
        for row in rows("bands") {
            if let (&[begin, end], Some(kind)) = (&read(&row).0[..], read(&row).1) {
                series.bands.push((begin, end, kind));
            }
        }
        for row in rows("gaps") {
            if let (&[began_ns, took_ms], Some(kind)) = (&read(&row).0[..], read(&row).1) {
                series.gaps.push(Gap { kind, began_ns, took_ms });
            }
        }
        series
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_the_same_after_it_was_written() {
        let second = |at| Second { at, confirmed: 7, p50_us: 900, p99_us: 1_200_000 };
        let series = Series {
            seconds: vec![second(0), second(4)],
            bands: vec![(1_500, 3_000, "power-cut"), (2_000, 3_000, "partition")],
            gaps: vec![Gap { kind: "kill", began_ns: 5, took_ms: 300 }],
        };
        assert_eq!(Series::from_edn(&Edn::parse(&series.to_edn().to_string()).unwrap()), series);
    }
}
