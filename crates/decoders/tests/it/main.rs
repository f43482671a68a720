//! Whatever bytes a decoder is given: an error or a value, never a panic, and no more memory than the bytes are worth.
//!
//! `PHALANX_DECODER_CASES=1000000` tries more.

#![allow(clippy::unwrap_used)]

mod allocation;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use phalanx_decoders::{Random, TARGETS, Target, mutate};

/// Cases of each decoder.
const CASES: u64 = 20_000;
/// Memory that a decoder may take for each byte it is given, and in any case. An empty command of two bytes becomes a struct of some
/// hundred, in a list that grows by doubling, and targets decode more than once.
const PER_BYTE_MAX: usize = 4_096;
const ANYWAY_MAX: usize = 4 * 1024 * 1024;
/// Truncations are tried at each byte of the first of them, and with steps behind.
const EVERY_CUT_BYTES: usize = 2_048;

fn cases() -> u64 {
    std::env::var("PHALANX_DECODER_CASES").map_or(CASES, |text| text.parse().unwrap())
}

/// Runs one case; what it was is told when a promise is broken.
fn run(target: &Target, data: &[u8], what: &str) -> bool {
    let (outcome, peak) = allocation::peak_of(|| catch_unwind(AssertUnwindSafe(|| (target.run)(data))));
    let shown = || data.iter().take(256).map(|byte| format!("{byte:02x}")).collect::<String>();
    let accepted = outcome.unwrap_or_else(|_| panic!("{} panicked at {what}: {}", target.name, shown()));
    let most = data.len() * PER_BYTE_MAX + ANYWAY_MAX;
    assert!(peak <= most, "{} took {peak} bytes for {} at {what}: {}", target.name, data.len(), shown());
    accepted
}

#[test]
fn valid_bytes_are_accepted_and_come_back() {
    for target in TARGETS {
        for (place, data) in (target.corpus)().iter().enumerate() {
            assert!(run(target, data, &format!("corpus {place}")), "{} refused corpus {place}", target.name);
        }
    }
}

#[test]
fn truncated_bytes_never_panic() {
    for target in TARGETS {
        for data in (target.corpus)() {
            let cuts = (0..data.len().min(EVERY_CUT_BYTES)).chain((EVERY_CUT_BYTES..data.len()).step_by(61));
            for cut in cuts {
                run(target, &data[..cut], &format!("a cut at {cut}"));
            }
        }
    }
}

#[test]
fn damaged_absurd_and_arbitrary_bytes_never_panic_and_take_little_memory() {
    for target in TARGETS {
        let corpus = (target.corpus)();
        let mut refused = 0_u64;
        for seed in 0..cases() {
            let data = mutate(&mut Random::new(seed), &corpus);
            refused += u64::from(!run(target, &data, &format!("seed {seed}")));
        }
        assert!(refused > cases() / 20, "{} refused only {refused}: the damage does nothing", target.name);
    }
}

#[test]
fn the_measure_sees_memory_that_was_asked_for() {
    let (length, peak) = allocation::peak_of(|| vec![1_u8; 5 * 1024 * 1024].len());
    assert!(peak >= length, "{peak} of {length}");
}

#[test]
fn every_decoder_has_a_fuzz_target_and_every_fuzz_target_is_one_of_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
    let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
    let mut found = BTreeSet::new();
    for path in files {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(&format!("phalanx_decoders::run({name:?}, data)")), "{}", path.display());
        found.insert(name);
    }
    let known: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(found, known);
}
