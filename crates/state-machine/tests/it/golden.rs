//! Stored bytes stay readable: every command and every row against files that older versions wrote.
//!
//! See `tests/golden/README.md`. Every field of a sample has a value of its own that is not the default, so that a
//! renumbered or retyped field cannot pass.

mod checkpoint;
mod commands;
mod rows;

use std::fmt::Debug;
use std::path::PathBuf;

use bytes::Bytes;
use prost::Message;

/// When set, missing files are written; existing ones never.
const WRITE: &str = "PHALANX_GOLDEN_WRITE";
/// Bytes a line of a file.
const LINE_BYTES: usize = 40;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.hex"))
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The file's text; written from `text` if it is missing and the environment says so.
fn golden(name: &str, text: &str) -> String {
    let path = path(name);
    if !path.exists() {
        assert!(
            std::env::var_os(WRITE).is_some(),
            "{} is missing: set {WRITE}=1 to write it",
            path.display()
        );
        std::fs::write(&path, text).unwrap();
    }
    std::fs::read_to_string(&path).unwrap()
}

/// The sample must encode to the file's bytes, and the file's bytes decode to the sample.
fn check<T: Message + Default + PartialEq + Debug>(name: &str, sample: &T) {
    let encoded = sample.encode_to_vec();
    let lines: Vec<String> = encoded.chunks(LINE_BYTES).map(to_hex).collect();
    let old = from_hex(&golden(name, &format!("{}\n", lines.join("\n"))));
    assert_eq!(T::decode(old.as_slice()).as_ref(), Ok(sample), "{name}: old bytes mean something else now");
    assert_eq!(to_hex(&encoded), to_hex(&old), "{name}: the same value has other bytes now");
}

/// Some bytes.
fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[test]
fn golden_files_are_all_checked_by_some_test() {
    if std::env::var_os(WRITE).is_some() {
        return; // the others are just writing them
    }
    let directory = path("x").parent().unwrap().to_owned();
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".hex").map(str::to_owned))
        .collect();
    names.sort();
    let mut known: Vec<String> = commands::names().into_iter().chain(rows::names()).collect();
    known.extend(checkpoint::NAMES.map(str::to_owned));
    known.sort();
    assert_eq!(names, known);
}
