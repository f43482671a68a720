//! The simulation as its users run it.

#![allow(clippy::unwrap_used)]

use std::process::Command;

fn sim(words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_phalanx-sim")).args(words).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn the_seam_test_passes_twice_with_one_trace() {
    let (code, text) = sim(&["seams", "--check"]);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn seeds_are_sound_and_the_same_seed_gives_the_same_trace() {
    for transport in ["tonic", "message"] {
        let sweep =
            ["sweep", "--transport", transport, "--seeds", "2", "--jobs", "2", "--check-determinism", "1"];
        let (code, text) = sim(&sweep);
        assert_eq!(code, Some(0), "{text}");
    }
}
