//! EDN, as much of it as histories and results need: nil, booleans, integers, strings, keywords, vectors and maps.

use std::fmt;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edn {
    /// `nil`
    Nil,
    /// `true`, `false`
    Bool(bool),
    /// An integer. 128 bits, so that unsigned 64-bit digests fit.
    Int(i128),
    /// `"text"`
    Text(String),
    /// `:word`, without its colon.
    Word(String),
    /// `[...]`
    List(Vec<Edn>),
    /// `{...}`, in the order in which it was written.
    Map(Vec<(Edn, Edn)>),
}

/// Deepest nesting that is read.
const DEPTH_MAX: usize = 64;

impl Edn {
    /// A keyword.
    pub fn word(word: impl Into<String>) -> Self {
        Self::Word(word.into())
    }

    /// A string.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A map with keywords for keys.
    pub fn map<K: Into<String>>(rows: impl IntoIterator<Item = (K, Edn)>) -> Self {
        Self::Map(rows.into_iter().map(|(key, value)| (Self::word(key), value)).collect())
    }

    /// What a map holds under a keyword.
    pub fn get(&self, key: &str) -> Option<&Edn> {
        let Self::Map(rows) = self else { return None };
        rows.iter().find(|(k, _)| matches!(k, Self::Word(word) if word == key)).map(|(_, value)| value)
    }

    /// As an unsigned number; `true` is 1.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Int(number) => u64::try_from(*number).ok(),
            Self::Bool(yes) => Some(u64::from(*yes)),
            _ => None,
        }
    }

    /// As text, of a string or a keyword.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Word(text) => Some(text),
            _ => None,
        }
    }

    /// Reads one value and nothing after it.
    ///
    /// # Errors
    /// What is wrong, and at which byte.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { bytes: text.as_bytes(), at: 0 };
        let value = reader.value(0)?;
        reader.blank();
        if reader.at < reader.bytes.len() {
            return Err(format!("byte {}: something follows the value", reader.at));
        }
        Ok(value)
    }
}

impl Edn {
    /// As JSON, where keywords are strings.
    pub fn json(&self) -> String {
        let joined = |items: Vec<String>| items.join(",");
        match self {
            Self::Nil => "null".to_owned(),
            Self::Bool(_) | Self::Int(_) => self.to_string(),
            // EDN's escapes of strings are among JSON's.
            Self::Text(text) | Self::Word(text) => Self::text(text.clone()).to_string(),
            Self::List(items) => format!("[{}]", joined(items.iter().map(Self::json).collect())),
            Self::Map(rows) => {
                let row = |(key, value): &(Self, Self)| {
                    let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                    format!("{}:{}", Self::text(key).json(), value.json())
                };
                format!("{{{}}}", joined(rows.iter().map(row).collect()))
            }
        }
    }
}

impl From<u64> for Edn {
    fn from(number: u64) -> Self {
        Self::Int(i128::from(number))
    }
}

impl From<usize> for Edn {
    fn from(number: usize) -> Self {
        Self::Int(number as i128)
    }
}

impl fmt::Display for Edn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("nil"),
            Self::Bool(yes) => write!(f, "{yes}"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Text(text) => quote(f, text),
            Self::Word(word) => write!(f, ":{word}"),
            Self::List(items) => {
                f.write_str("[")?;
                for (place, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if place > 0 { " " } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Map(rows) => {
                f.write_str("{")?;
                for (place, (key, value)) in rows.iter().enumerate() {
                    write!(f, "{}{key} {value}", if place > 0 { ", " } else { "" })?;
                }
                f.write_str("}")
            }
        }
    }
}

fn quote(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if c.is_control() => write!(f, "\\u{:04x}", c as u32)?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Commas are blanks, and so are comments.
    fn blank(&mut self) {
        while let Some(byte) = self.peek() {
            if byte == b';' {
                while self.peek().is_some_and(|byte| byte != b'\n') {
                    self.at += 1;
                }
            } else if byte == b',' || byte.is_ascii_whitespace() {
                self.at += 1;
            } else {
                return;
            }
        }
    }

    fn wrong<T>(&self, what: &str) -> Result<T, String> {
        Err(format!("byte {}: {what}", self.at))
    }

    fn value(&mut self, depth: usize) -> Result<Edn, String> {
        self.blank();
        if depth > DEPTH_MAX {
            return self.wrong("nested too deeply");
        }
        match self.peek() {
            None => self.wrong("a value is missing"),
            Some(b'"') => self.string(),
            Some(b':') => {
                self.at += 1;
                Ok(Edn::Word(self.token()))
            }
            Some(b'[') => Ok(Edn::List(self.items(b']', depth)?)),
            Some(b'{') => {
                let items = self.items(b'}', depth)?;
                if items.len() % 2 == 1 {
                    return self.wrong("a key has no value");
                }
                let mut items = items.into_iter();
                let mut rows = Vec::new();
                while let (Some(key), Some(value)) = (items.next(), items.next()) {
                    rows.push((key, value));
                }
                Ok(Edn::Map(rows))
            }
            Some(_) => match self.token().as_str() {
                "nil" => Ok(Edn::Nil),
                "true" => Ok(Edn::Bool(true)),
                "false" => Ok(Edn::Bool(false)),
                token => match token.trim_end_matches('N').parse() {
                    Ok(number) => Ok(Edn::Int(number)),
                    Err(_) => self.wrong(&format!("{token:?} is not a value")),
                },
            },
        }
    }

    fn items(&mut self, end: u8, depth: usize) -> Result<Vec<Edn>, String> {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.blank();
            match self.peek() {
                Some(byte) if byte == end => {
                    self.at += 1;
                    return Ok(items);
                }
                None => return self.wrong("it is not closed"),
                Some(_) => items.push(self.value(depth + 1)?),
            }
        }
    }

    fn token(&mut self) -> String {
        let begin = self.at;
        while self.peek().is_some_and(|b| !b.is_ascii_whitespace() && !b",[]{}\"();".contains(&b)) {
            self.at += 1;
        }
        // Never stands still, whatever comes.
        if begin == self.at && begin < self.bytes.len() {
            self.at += 1;
        }
        String::from_utf8_lossy(&self.bytes[begin..self.at]).into_owned()
    }

    fn string(&mut self) -> Result<Edn, String> {
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            let Some(byte) = self.peek() else { return self.wrong("a string is not closed") };
            self.at += 1;
            match byte {
                b'"' => return Ok(Edn::Text(String::from_utf8_lossy(&bytes).into_owned())),
                b'\\' => {
                    let escaped = self.peek();
                    self.at += 1;
                    match escaped {
                        Some(b'n') => bytes.push(b'\n'),
                        Some(b'r') => bytes.push(b'\r'),
                        Some(b't') => bytes.push(b'\t'),
                        Some(b'u') => {
                            let digits = self.bytes.get(self.at..self.at + 4).unwrap_or_default();
                            let code = std::str::from_utf8(digits).ok();
                            let code = code.and_then(|digits| u32::from_str_radix(digits, 16).ok());
                            let Some(c) = code.and_then(char::from_u32) else {
                                return self.wrong("no such character");
                            };
                            self.at += 4;
                            bytes.extend(c.to_string().as_bytes());
                        }
                        Some(other) => bytes.push(other),
                        None => return self.wrong("a string is not closed"),
                    }
                }
                byte => bytes.push(byte),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_value() -> impl Strategy<Value = Edn> {
        let leaf = prop_oneof![
            Just(Edn::Nil),
            any::<bool>().prop_map(Edn::Bool),
            any::<i64>().prop_map(|n| Edn::Int(n.into())),
            any::<u64>().prop_map(Edn::from),
            ".*".prop_map(Edn::Text),
            "[a-z][a-z?-]{0,8}".prop_map(Edn::Word),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Edn::List),
                proptest::collection::vec(("[a-z]{1,5}".prop_map(Edn::Word), inner), 0..4).prop_map(Edn::Map),
            ]
        })
    }

    #[test]
    fn a_value_as_json() {
        let value = Edn::parse("{:a [1 nil true :b \"c\\n\"], :d {}}").unwrap();
        assert_eq!(value.json(), r#"{"a":[1,null,true,"b","c\n"],"d":{}}"#);
    }

    #[test]
    fn what_ends_too_early_is_an_error_or_a_value() {
        for text in [":", "[:", "\"\\", "\"\\u12", "{:a"] {
            assert!(Edn::parse(text).is_err() || text == ":", "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(value in any_value()) {
            prop_assert_eq!(Edn::parse(&value.to_string()), Ok(value));
        }

        #[test]
        fn no_text_makes_the_reader_panic_or_hang(text in ".*") {
            let _ = Edn::parse(&text);
        }
    }
}
