//! What users run has no planted bug in it.

use std::path::PathBuf;

use phalanx_canary::Canary;

/// In every build that serves clients: shows that the search would find what is there.
const SERVICE: &str = "phalanx.v1.Messages";

/// The binary of this build, or the one that `PHALANX_BINARY` names.
fn binary() -> PathBuf {
    let named = std::env::var_os("PHALANX_BINARY").map(PathBuf::from);
    named.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_phalanx")))
}

#[test]
fn no_planted_bug_is_in_the_binary() {
    let path = binary();
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    // A name of a canary and a string that must be there, found in the same way.
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds(SERVICE), "{} does not even hold {SERVICE:?}", path.display());
    for canary in Canary::ALL {
        assert!(!holds(canary.name()), "{} holds the canary {}", path.display(), canary.name());
    }
}
