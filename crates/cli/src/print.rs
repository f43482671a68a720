//! How a delivery is printed.

use std::io::Write as _;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use phalanx_client::Delivery;
use serde_json::{Map, Value, json};

use crate::args::Output;
use crate::output::Failure;

/// Appends one delivery to `page`: a line for people, a JSON line for programs, or its bare body and a newline.
pub fn delivery(page: &mut Vec<u8>, delivery: &Delivery, output: Output) -> Result<(), Failure> {
    match output {
        Output::Raw => page.extend_from_slice(delivery.body()),
        Output::Json => {
            serde_json::to_writer(&mut *page, &value(delivery)).map_err(|e| Failure::new(e.to_string()))?
        }
        Output::Table => line(page, delivery)?,
    }
    page.push(b'\n');
    Ok(())
}

fn line(page: &mut Vec<u8>, delivery: &Delivery) -> Result<(), Failure> {
    let message = delivery.message();
    write!(page, "#{}", delivery.sequence())?;
    if !message.group.is_empty() {
        write!(page, "  group {}", String::from_utf8_lossy(&message.group))?;
    }
    if delivery.attempt() > 1 {
        write!(page, "  attempt {}", delivery.attempt())?;
    }
    write!(page, "  {}", String::from_utf8_lossy(delivery.body()))?;
    Ok(())
}

/// A body or header that is text is shown as `NAME`, one that is not as `NAME_base64`.
fn value(delivery: &Delivery) -> Value {
    let message = delivery.message();
    let mut object = Map::new();
    object.insert("sequence".to_owned(), json!(delivery.sequence()));
    object.insert("token".to_owned(), json!(delivery.token()));
    object.insert("attempt".to_owned(), json!(delivery.attempt()));
    let enqueued =
        delivery.enqueued().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis());
    object.insert("enqueued_ms".to_owned(), json!(u64::try_from(enqueued).unwrap_or(u64::MAX)));
    text_or_base64(&mut object, "body", delivery.body());
    if !message.group.is_empty() {
        text_or_base64(&mut object, "group", &message.group);
    }
    for (name, text) in [
        ("content_type", &message.content_type),
        ("deduplication_id", &message.deduplication_id),
        ("correlation_id", &message.correlation_id),
        ("reply_to", &message.reply_to),
        ("traceparent", &message.traceparent),
    ] {
        if !text.is_empty() {
            object.insert(name.to_owned(), json!(text));
        }
    }
    if !message.headers.is_empty() {
        let mut headers = Map::new();
        for (name, header) in &message.headers {
            text_or_base64(&mut headers, name, header);
        }
        object.insert("headers".to_owned(), Value::Object(headers));
    }
    Value::Object(object)
}

fn text_or_base64(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), json!(text)),
        Err(_) => object.insert(format!("{name}_base64"), json!(STANDARD.encode(bytes))),
    };
}
