//! Sets of places as text.

use std::fmt::Write as _;

/// Rising numbers as ranges: `1-3 7`.
pub fn ranges(numbers: impl IntoIterator<Item = u64>) -> String {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some(run) if run.1 + 1 == number => run.1 = number,
            _ => runs.push((number, number)),
        }
    }
    let mut text = String::new();
    for (first, last) in runs {
        let gap = if text.is_empty() { "" } else { " " };
        let _ =
            if first == last { write!(text, "{gap}{first}") } else { write!(text, "{gap}{first}-{last}") };
    }
    text
}

/// What [`ranges`] wrote, as first and last of each run; what it cannot have written is left out.
pub fn runs(text: &str) -> Vec<(u64, u64)> {
    let run = |word: &str| {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    text.split_whitespace().filter_map(run).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_as_they_were() {
        assert_eq!(ranges([1, 2, 3, 7, 9, 10]), "1-3 7 9-10");
        assert_eq!(runs("1-3 7 9-10"), [(1, 3), (7, 7), (9, 10)]);
        assert_eq!(runs(&ranges([])), []);
    }
}
