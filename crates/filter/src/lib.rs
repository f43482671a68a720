//! What a subscription takes of its topic.
//!
//! A [`Pattern`] looks at the routing key, as AMQP topic exchanges do: words between dots, `*` for one word, `#` for any number of
//! words. A [`Filter`] is an expression over headers:
//!
//! ```text
//! expression = conjunction { "or" conjunction }
//! conjunction = negation { "and" negation }
//! negation   = "not" negation | "(" expression ")" | test
//! test       = "exists" "(" name ")"
//!            | name ( "=" | "!=" ) ( text | number )
//!            | name ( "<" | "<=" | ">" | ">=" ) number
//!            | name [ "not" ] "in" "(" text { "," text } ")"
//!            | name "prefix" text
//! name       = letter or "_" { letter | digit | "_" | "-" | "." }   or anything in double quotes
//! text       = anything in single quotes, '' for a quote
//! number     = [ "-" ] digits [ "." digits ]
//! ```
//!
//! A test on a header that is not there is false, also `!=` and `not in`; `not (region = 'eu')` is then true. Numbers are compared as decimals,
//! exactly; a header that is none fails the test. Keywords are lower case.
//!
//! ```
//! use std::collections::BTreeMap;
//! use phalanx_filter::{Attributes, Filter, Pattern};
//!
//! let filter = Filter::parse("region in ('eu', 'us') and amount >= 99.50").unwrap();
//! let headers = BTreeMap::from([("region".into(), "eu".into()), ("amount".into(), "100".into())]);
//! assert!(filter.matches(&Attributes::new("", &headers)));
//!
//! assert!(Pattern::parse("orders.*.eu").unwrap().matches("orders.new.eu"));
//! assert_eq!(Filter::parse("region = eu").unwrap_err().to_string(), "column 10: expected a text in single quotes, a number");
//! ```
//!
//! Everything here is deterministic: equal on every replica that evaluates it.
#![deny(missing_docs)]

mod filter;
mod index;
mod parser;
mod pattern;
mod trie;

use std::collections::BTreeMap;

use bytes::Bytes;

pub use filter::Filter;
pub use index::Index;
pub use pattern::Pattern;

/// Longest expression, bytes.
pub const FILTER_BYTES_MAX: usize = 4_096;
/// Most tests of one expression.
pub const TESTS_MAX: usize = 64;
/// Deepest nesting of parentheses and `not`.
pub const NESTING_MAX: usize = 32;
/// Longest pattern, bytes.
pub const PATTERN_BYTES_MAX: usize = 255;
/// Most words of a pattern.
pub const WORDS_MAX: usize = 128;

/// What a message shows.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    pub(crate) key: &'a str,
    pub(crate) headers: &'a BTreeMap<String, Bytes>,
}

impl<'a> Attributes<'a> {
    /// Of a message with this routing key, which may be empty, and these headers.
    #[must_use]
    pub fn new(key: &'a str, headers: &'a BTreeMap<String, Bytes>) -> Self {
        Self { key, headers }
    }
}

/// A text that is no pattern or no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {expected}")]
pub struct ParseError {
    /// Where, counted in characters from 1.
    pub column: usize,
    /// What should have been there.
    pub expected: String,
}
