//! `phalanx topic read`: a topic's log, page by page.

use std::time::Duration;

use phalanx_client::{Admin, LogMessage};
use serde_json::{Map, Value, json};

use crate::args::{Common, Output, ReadArgs};
use crate::output::{self, Failure, Outcome};
use crate::print;

/// Messages of a page.
const PAGE: u32 = 500;
/// With --follow: pause before it is looked again.
const FOLLOW_PAUSE: Duration = Duration::from_millis(250);

/// Prints the log from a sequence on.
pub async fn run(admin: &Admin, args: ReadArgs, common: &Common) -> Outcome {
    let form = if args.json { Output::Json } else { common.output };
    let (mut from, mut left) = (args.from, args.count.unwrap_or(u64::MAX));
    let mut told = false;
    while left > 0 {
        let count = PAGE.min(u32::try_from(left).unwrap_or(u32::MAX));
        let page = admin.read_log(&args.name, from, count).await?;
        if page.first_sequence > args.from.max(1) && args.from > 0 && !told {
            output::note(&format!("phalanx: messages before sequence {} are gone", page.first_sequence));
        }
        told = true;
        left -= page.messages.len() as u64;
        let mut text = Vec::new();
        for message in &page.messages {
            line(&mut text, message, form, args.headers)?;
        }
        output::raw(&text, false);
        from = page.next_sequence;
        if !page.more {
            if !args.follow {
                break;
            }
            tokio::time::sleep(FOLLOW_PAUSE).await;
        }
    }
    Ok(())
}

fn line(page: &mut Vec<u8>, message: &LogMessage, form: Output, headers: bool) -> Result<(), Failure> {
    match form {
        Output::Raw => page.extend_from_slice(&message.message.body),
        Output::Json => {
            let mut object = Map::new();
            object.insert("sequence".to_owned(), json!(message.sequence));
            object.insert("enqueued_ms".to_owned(), json!(print::unix_ms(message.published)));
            print::message(&mut object, &message.message);
            serde_json::to_writer(&mut *page, &Value::Object(object))
                .map_err(|error| Failure::new(error.to_string()))?;
        }
        Output::Table => {
            print::line(page, message.sequence, &[], &message.message);
            if headers {
                print::details(page, &message.message);
            }
        }
    }
    page.push(b'\n');
    Ok(())
}
