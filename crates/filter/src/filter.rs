//! Expressions over headers: what they are, and what they say of a message.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use rust_decimal::Decimal;

use crate::parser;
use crate::{Attributes, ParseError};

/// Most values by which an expression is found; one with more is tried on every message.
const KEYS_MAX: usize = 1_000;

/// How a header is compared with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    fn holds(self, header: Decimal, number: Decimal) -> bool {
        match self {
            Self::Equal => header == number,
            Self::Unequal => header != number,
            Self::Less => header < number,
            Self::LessOrEqual => header <= number,
            Self::Greater => header > number,
            Self::GreaterOrEqual => header >= number,
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::Unequal => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expression {
    Or(Vec<Expression>),
    And(Vec<Expression>),
    Not(Box<Expression>),
    Exists(String),
    /// Equal to one of the texts; the flag: to none of them.
    In(String, BTreeSet<String>, bool),
    Prefix(String, String),
    Number(String, Comparison, Decimal),
}

/// An expression over headers. See the [crate] for the language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(pub(crate) Expression);

impl Filter {
    /// Understands an expression.
    ///
    /// # Errors
    /// Where it is none, or that it is over a limit of this crate.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parser::parse(text).map(Self)
    }

    /// Whether a message fits.
    #[must_use]
    pub fn matches(&self, attributes: &Attributes<'_>) -> bool {
        self.0.holds(attributes.headers)
    }

    /// Header values of which a message must have one to fit; `None`: no such list is known.
    pub(crate) fn keys(&self) -> Option<Vec<(String, String)>> {
        self.0.keys()
    }
}

impl Expression {
    fn holds(&self, headers: &BTreeMap<String, Bytes>) -> bool {
        match self {
            Self::Or(all) => all.iter().any(|part| part.holds(headers)),
            Self::And(all) => all.iter().all(|part| part.holds(headers)),
            Self::Not(part) => !part.holds(headers),
            Self::Exists(name) => headers.contains_key(name),
            Self::In(name, texts, none) => headers.get(name).is_some_and(|value| {
                let is_one = std::str::from_utf8(value).is_ok_and(|value| texts.contains(value));
                is_one != *none
            }),
            Self::Prefix(name, prefix) => {
                headers.get(name).is_some_and(|value| value.starts_with(prefix.as_bytes()))
            }
            Self::Number(name, comparison, number) => {
                let value = headers.get(name).and_then(|value| std::str::from_utf8(value).ok());
                let value = value.and_then(|value| Decimal::from_str_exact(value.trim()).ok());
                value.is_some_and(|value| comparison.holds(value, *number))
            }
        }
    }

    fn keys(&self) -> Option<Vec<(String, String)>> {
        match self {
            Self::In(name, texts, false) => {
                Some(texts.iter().map(|text| (name.clone(), text.clone())).collect())
            }
            Self::And(all) => all.iter().filter_map(Self::keys).min_by_key(Vec::len),
            Self::Or(all) => {
                let mut keys = Vec::new();
                for part in all {
                    keys.append(&mut part.keys()?);
                }
                (keys.len() <= KEYS_MAX).then_some(keys)
            }
            Self::Not(_) | Self::Exists(_) | Self::In(_, _, true) | Self::Prefix(..) | Self::Number(..) => {
                None
            }
        }
    }

    fn is_compound(&self) -> bool {
        matches!(self, Self::Or(_) | Self::And(_))
    }

    fn join(all: &[Self], word: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in all.iter().enumerate() {
            if at > 0 {
                write!(f, " {word} ")?;
            }
            if part.is_compound() { write!(f, "({part})")? } else { write!(f, "{part}")? }
        }
        Ok(())
    }
}

struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if parser::is_bare(self.0) { f.write_str(self.0) } else { write!(f, "\"{}\"", self.0) }
    }
}

struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.0.replace('\'', "''"))
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Or(all) => Self::join(all, "or", f),
            Self::And(all) => Self::join(all, "and", f),
            Self::Not(part) if part.is_compound() => write!(f, "not ({part})"),
            Self::Not(part) => write!(f, "not {part}"),
            Self::Exists(name) => write!(f, "exists({})", Name(name)),
            Self::In(name, texts, none) => {
                let mut texts = texts.iter();
                match (texts.next(), texts.len()) {
                    (Some(only), 0) => {
                        write!(f, "{} {} {}", Name(name), if *none { "!=" } else { "=" }, Text(only))
                    }
                    (first, _) => {
                        let all: Vec<String> =
                            first.into_iter().chain(texts).map(|text| Text(text).to_string()).collect();
                        let word = if *none { "not in" } else { "in" };
                        write!(f, "{} {word} ({})", Name(name), all.join(", "))
                    }
                }
            }
            Self::Prefix(name, prefix) => write!(f, "{} prefix {}", Name(name), Text(prefix)),
            Self::Number(name, comparison, number) => {
                write!(f, "{} {} {number}", Name(name), comparison.sign())
            }
        }
    }
}

/// The same expression, written in one way.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
