//! Times and sizes as files write them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::args::parse;

/// A time, ms; in a file `"30s"` or a number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub u64);

/// A number of bytes; in a file `"64KiB"` or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

#[derive(Deserialize)]
#[serde(untagged, expecting = "a number or a text such as \"30s\" or \"64KiB\"")]
enum Written {
    Number(u64),
    Text(String),
}

impl Written {
    fn text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Written::deserialize(from)?.text();
        parse::duration_ms(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
        let whole = units.into_iter().find(|(unit, _)| self.0 > 0 && self.0.is_multiple_of(*unit));
        let (unit, name) = whole.unwrap_or((1, "ms"));
        write!(f, "{}{name}", self.0 / unit)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Written::deserialize(from)?.text();
        parse::bytes(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let whole = units.into_iter().find(|(unit, _)| self.0 > 0 && self.0.is_multiple_of(*unit));
        let (unit, name) = whole.unwrap_or((1, ""));
        write!(f, "{}{name}", self.0 / unit)
    }
}

/// A setting as text, or what its default is.
pub(super) fn text<T: std::fmt::Display>(value: Option<T>, default: T) -> String {
    value.map_or_else(|| format!("{default} (default)"), |value| value.to_string())
}

/// How long until something goes that does not go by default.
pub(super) fn or_never(span: Option<Span>) -> String {
    span.map_or_else(|| "never (default)".to_owned(), |span| span.to_string())
}
