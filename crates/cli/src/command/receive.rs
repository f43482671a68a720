//! `phalanx receive`: lease messages once, print them, acknowledge them.

use std::time::Duration;

use futures::future::join_all;
use phalanx_client::Delivery;

use crate::args::{Common, Output, ReceiveArgs};
use crate::command::connect;
use crate::command::send::hint;
use crate::output::{self, Failure, Outcome};
use crate::print;

/// Runs `phalanx receive`.
pub async fn run(args: ReceiveArgs, common: &Common) -> Outcome {
    let output = if args.json { Output::Json } else { common.output };
    let common = &Common { output, ..common.clone() };
    let client = connect(common).await?;
    let mut receiver = client.receiver(&args.queue);
    if let Some(ms) = args.lease {
        receiver = receiver.lease(Duration::from_millis(ms));
    }
    let received = receiver.receive(args.count, Duration::from_millis(args.wait)).await;
    let deliveries = received.map_err(|error| hint(error, &args.queue))?;
    let mut page = Vec::new();
    for delivery in &deliveries {
        print::delivery(&mut page, delivery, common.output, args.headers)?;
    }
    output::raw(&page, false);
    if deliveries.is_empty() && common.output == Output::Table {
        output::note("nothing to receive");
    }
    if args.no_ack {
        return Ok(());
    }
    settle(deliveries).await
}

async fn settle(deliveries: Vec<Delivery>) -> Outcome {
    let answers = join_all(deliveries.into_iter().map(Delivery::ack)).await;
    let failed: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
    match failed.into_iter().next() {
        None => Ok(()),
        Some(error) => {
            let failure = Failure::from(error);
            Err(Failure { message: format!("printed, but not acknowledged: {}", failure.message), ..failure })
        }
    }
}
