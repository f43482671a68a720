//! How messages are printed, and read back.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use phalanx_client::{Delivery, Message};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use crate::args::Output;
use crate::output::{Failure, millis};

/// Appends one delivery to `page`: a line for people, a JSON line for programs, or its bare body and a newline.
pub fn delivery(
    page: &mut Vec<u8>,
    delivery: &Delivery,
    output: Output,
    headers: bool,
) -> Result<(), Failure> {
    match output {
        Output::Raw => page.extend_from_slice(delivery.body()),
        Output::Json => {
            serde_json::to_writer(&mut *page, &value(delivery)).map_err(|e| Failure::new(e.to_string()))?
        }
        Output::Table => {
            let attempt = delivery.attempt();
            let again = (attempt > 1).then(|| format!("attempt {attempt}"));
            line(page, delivery.sequence(), again.as_slice(), delivery.message());
            if headers {
                details(page, delivery.message());
            }
        }
    }
    page.push(b'\n');
    Ok(())
}

/// Sequence, remarks, group and body in one line.
pub fn line(page: &mut Vec<u8>, sequence: u64, notes: &[String], message: &Message) {
    let mut parts = vec![format!("#{sequence}")];
    parts.extend_from_slice(notes);
    if !message.group.is_empty() {
        parts.push(format!("group {}", text(&message.group)));
    }
    parts.push(text(&message.body));
    page.extend_from_slice(parts.join("  ").as_bytes());
}

/// What describes a message, a line each.
pub fn details(page: &mut Vec<u8>, message: &Message) {
    let headers = message.headers.iter().map(|(name, value)| (name.as_str(), text(value)));
    let attributes = attributes(message).map(|(name, value)| (name, text(value.as_bytes())));
    for (name, value) in attributes.chain(headers) {
        page.extend_from_slice(format!("\n    {name}: {value}").as_bytes());
    }
}

/// Text for a terminal: what it would obey is shown, not sent.
pub fn text(bytes: &[u8]) -> String {
    let mut out = String::new();
    for c in String::from_utf8_lossy(bytes).chars() {
        if c.is_control() && c != '\n' && c != '\t' {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Milliseconds since 1970.
pub fn unix_ms(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, millis)
}

fn value(delivery: &Delivery) -> Value {
    let mut object = Map::new();
    object.insert("sequence".to_owned(), json!(delivery.sequence()));
    object.insert("token".to_owned(), json!(delivery.token()));
    object.insert("attempt".to_owned(), json!(delivery.attempt()));
    object.insert("enqueued_ms".to_owned(), json!(unix_ms(delivery.enqueued())));
    message(&mut object, delivery.message());
    Value::Object(object)
}

/// Adds the fields of a message. A body or header that is text is shown as `NAME`, one that is not as `NAME_base64`.
pub fn message(object: &mut Map<String, Value>, message: &Message) {
    text_or_base64(object, "body", &message.body);
    if !message.group.is_empty() {
        text_or_base64(object, "group", &message.group);
    }
    for (name, text) in attributes(message) {
        object.insert(name.to_owned(), json!(text));
    }
    if !message.headers.is_empty() {
        let mut headers = Map::new();
        for (name, header) in &message.headers {
            text_or_base64(&mut headers, name, header);
        }
        object.insert("headers".to_owned(), Value::Object(headers));
    }
}

fn attributes(message: &Message) -> impl Iterator<Item = (&'static str, &str)> {
    let all = [
        ("content_type", message.content_type.as_str()),
        ("deduplication_id", &message.deduplication_id),
        ("correlation_id", &message.correlation_id),
        ("reply_to", &message.reply_to),
        ("traceparent", &message.traceparent),
        ("routing_key", &message.routing_key),
    ];
    all.into_iter().filter(|(_, text)| !text.is_empty())
}

/// As `NAME` if it is text, else as `NAME_base64`.
pub fn text_or_base64(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), json!(text)),
        Err(_) => object.insert(format!("{name}_base64"), json!(STANDARD.encode(bytes))),
    };
}

/// A message as a JSON line describes it, in the fields that [`message`] prints; those of a delivery or a
/// peek are passed over, so that what one queue gave can be sent to another.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Described {
    body: Option<String>,
    body_base64: Option<String>,
    group: Option<String>,
    group_base64: Option<String>,
    headers: BTreeMap<String, String>,
    content_type: String,
    deduplication_id: String,
    correlation_id: String,
    reply_to: String,
    traceparent: String,
    routing_key: String,
    #[serde(rename = "sequence")]
    _sequence: Option<IgnoredAny>,
    #[serde(rename = "token")]
    _token: Option<IgnoredAny>,
    #[serde(rename = "attempt")]
    _attempt: Option<IgnoredAny>,
    #[serde(rename = "enqueued_ms")]
    _enqueued_ms: Option<IgnoredAny>,
    #[serde(rename = "attempts")]
    _attempts: Option<IgnoredAny>,
    #[serde(rename = "returned")]
    _returned: Option<IgnoredAny>,
    #[serde(rename = "state")]
    _state: Option<IgnoredAny>,
    #[serde(rename = "left_ms")]
    _left_ms: Option<IgnoredAny>,
    #[serde(rename = "holder")]
    _holder: Option<IgnoredAny>,
}

/// Reads a message from a JSON line.
///
/// # Errors
/// What is wrong with it.
pub fn parse(line: &[u8]) -> Result<Message, String> {
    let described: Described = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let body = either("body", described.body, described.body_base64)?
        .ok_or_else(|| "it has neither body nor body_base64".to_owned())?;
    let mut message = Message::new(body)
        .content_type(described.content_type)
        .deduplication_id(described.deduplication_id)
        .correlation_id(described.correlation_id)
        .reply_to(described.reply_to)
        .traceparent(described.traceparent)
        .routing_key(described.routing_key);
    if let Some(group) = either("group", described.group, described.group_base64)? {
        message = message.group(group);
    }
    for (name, value) in described.headers {
        message = match name.strip_suffix("_base64") {
            Some(plain) => message.header(plain, decode(&name, &value)?),
            None => message.header(name, value),
        };
    }
    Ok(message)
}

fn either(name: &str, text: Option<String>, base64: Option<String>) -> Result<Option<Vec<u8>>, String> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(format!("it has both {name} and {name}_base64")),
        (Some(text), None) => Ok(Some(text.into_bytes())),
        (None, Some(base64)) => decode(&format!("{name}_base64"), &base64).map(Some),
        (None, None) => Ok(None),
    }
}

fn decode(name: &str, text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|error| format!("{name}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_as_json_reads_back_as_the_same_message() {
        let original = Message::new(vec![0xff, 0])
            .group("customer-7")
            .header("tenant", "acme")
            .header("raw", vec![0xfe])
            .content_type("text/plain")
            .deduplication_id("d")
            .correlation_id("c")
            .reply_to("r")
            .traceparent("t")
            .routing_key("k");
        let mut object = Map::new();
        object.insert("sequence".to_owned(), json!(7));
        message(&mut object, &original);
        let line = Value::Object(object).to_string();
        assert_eq!(parse(line.as_bytes()), Ok(original));
    }

    #[test]
    fn a_line_that_is_no_message_says_why() {
        assert!(parse(b"{}").unwrap_err().contains("neither body"));
        assert!(parse(br#"{"body":"a","boody":"b"}"#).unwrap_err().contains("boody"));
        assert!(parse(br#"{"body":"a","body_base64":"YQ=="}"#).unwrap_err().contains("both"));
        assert!(parse(br#"{"body_base64":"*"}"#).unwrap_err().contains("body_base64"));
    }

    #[test]
    fn a_terminal_is_not_given_orders() {
        assert_eq!(text(b"a\x1b[2Jb\nc"), "a\\u{1b}[2Jb\nc");
    }
}
