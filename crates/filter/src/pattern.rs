//! Patterns over routing keys.

use std::fmt;

use crate::{PATTERN_BYTES_MAX, ParseError, WORDS_MAX};

/// A part of a pattern, between dots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Word {
    /// Itself.
    Plain(Box<str>),
    /// `*`: any one word.
    One,
    /// `#`: any number of words, none included.
    Any,
}

/// A pattern over routing keys: `orders.*.eu`, `orders.#`.
///
/// The empty pattern is one empty word: it matches the empty key alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    words: Vec<Word>,
}

impl Pattern {
    /// Understands a pattern. Every text is one that is not too long: `*` and `#` inside longer words stand for themselves.
    ///
    /// # Errors
    /// If it is longer than [`PATTERN_BYTES_MAX`] or has more than [`WORDS_MAX`] words.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let error = |column, expected: String| Err(ParseError { column, expected });
        if text.len() > PATTERN_BYTES_MAX {
            return error(PATTERN_BYTES_MAX + 1, format!("a pattern has at most {PATTERN_BYTES_MAX} bytes"));
        }
        let words: Vec<Word> = text.split('.').map(word).collect();
        if words.len() > WORDS_MAX {
            return error(text.len(), format!("a pattern has at most {WORDS_MAX} words"));
        }
        Ok(Self { words })
    }

    pub(crate) fn words(&self) -> &[Word] {
        &self.words
    }

    /// Whether a key fits.
    #[must_use]
    pub fn matches(&self, key: &str) -> bool {
        // Which prefixes of the pattern the words so far may be.
        let mut reached = vec![false; self.words.len() + 1];
        reached[0] = true;
        self.skip_any(&mut reached);
        for word in key.split('.') {
            let mut next = vec![false; self.words.len() + 1];
            for (at, pattern) in self.words.iter().enumerate().filter(|(at, _)| reached[*at]) {
                match pattern {
                    Word::Plain(plain) => next[at + 1] |= **plain == *word,
                    Word::One => next[at + 1] = true,
                    Word::Any => next[at] = true,
                }
            }
            reached = next;
            self.skip_any(&mut reached);
        }
        reached[self.words.len()]
    }

    fn skip_any(&self, reached: &mut [bool]) {
        for (at, _) in self.words.iter().enumerate().filter(|(_, word)| **word == Word::Any) {
            reached[at + 1] |= reached[at];
        }
    }
}

fn word(text: &str) -> Word {
    match text {
        "*" => Word::One,
        "#" => Word::Any,
        plain => Word::Plain(plain.into()),
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, word) in self.words.iter().enumerate() {
            if at > 0 {
                f.write_str(".")?;
            }
            f.write_str(match word {
                Word::Plain(plain) => plain,
                Word::One => "*",
                Word::Any => "#",
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reference(words: &[Word], key: &[&str]) -> bool {
        match words.split_first() {
            None => key.is_empty(),
            Some((Word::Any, rest)) => (0..=key.len()).any(|skipped| reference(rest, &key[skipped..])),
            Some((Word::One, rest)) => !key.is_empty() && reference(rest, &key[1..]),
            Some((Word::Plain(plain), rest)) => {
                key.first().is_some_and(|first| **plain == **first) && reference(rest, &key[1..])
            }
        }
    }

    #[test]
    fn words_stand_for_words() {
        let cases = [
            ("orders.*.eu", "orders.new.eu", true),
            ("orders.*.eu", "orders.eu", false),
            ("orders.*.eu", "orders.new.old.eu", false),
            ("orders.#", "orders", true),
            ("orders.#", "orders.new.eu", true),
            ("#.eu", "eu", true),
            ("#", "", true),
            ("*", "", true),
            ("a*", "ab", false),
            ("", "", true),
            ("", "a", false),
        ];
        for (pattern, key, expected) in cases {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(key), expected, "{pattern:?} on {key:?}");
        }
    }

    #[test]
    fn patterns_are_bounded() {
        assert!(Pattern::parse(&"x".repeat(256)).is_err());
        assert!(Pattern::parse(&".".repeat(128)).is_err());
    }

    proptest! {
        #[test]
        fn a_pattern_matches_as_by_trying_everything(pattern in "([ab*#]\\.){0,5}[ab*#]", key in "([ab]\\.){0,6}[ab]") {
            let parsed = Pattern::parse(&pattern).unwrap();
            let words: Vec<&str> = key.split('.').collect();
            prop_assert_eq!(parsed.matches(&key), reference(parsed.words(), &words));
            prop_assert_eq!(parsed.to_string(), pattern);
        }
    }
}
