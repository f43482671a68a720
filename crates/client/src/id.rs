//! Identities that clients choose: producers, consumers, requests.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

/// A 128-bit identity, drawn at random unless the application has a reason to choose it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u128);

impl Id {
    /// The identity with this value. Zero is not a valid identity: it becomes one.
    #[must_use]
    pub const fn from_u128(value: u128) -> Self {
        Self(if value == 0 { 1 } else { value })
    }

    /// Its value.
    #[must_use]
    pub const fn to_u128(self) -> u128 {
        self.0
    }

    pub(crate) fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self.0.to_be_bytes())
    }

    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        Some(Self(u128::from_be_bytes(bytes.try_into().ok()?)))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Not 32 hexadecimal digits, or all of them zero.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is 32 hexadecimal digits, not all zero")]
pub struct ParseIdError;

impl FromStr for Id {
    type Err = ParseIdError;

    /// Reads what `Display` writes; hyphens, as in a UUID, are passed over.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        if digits.len() != 32 {
            return Err(ParseIdError);
        }
        match u128::from_str_radix(&digits, 16) {
            Ok(value) if value != 0 => Ok(Self(value)),
            _ => Err(ParseIdError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_as_it_was_written() {
        let id = Id::from_u128(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("01234567-89ab-cdef-0011-223344556677".parse(), Ok(id));
        assert_eq!(Id::from_slice(&id.to_bytes()), Some(id));
        assert_eq!("0".repeat(32).parse::<Id>(), Err(ParseIdError));
        assert_eq!("7".parse::<Id>(), Err(ParseIdError));
    }
}
