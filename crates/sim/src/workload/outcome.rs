//! What the client's answers mean for the history.

use phalanx_client::{Error, Sent};

use crate::history::{End, Placed, Settled};

/// How a send ended. Whatever the client does not call unknown did not happen: that is its promise, and it is tested here.
pub(super) fn of_send(result: Result<Vec<Sent>, Error>) -> End<Vec<Placed>> {
    match result {
        Ok(sent) => {
            let placed = |sent: Sent| Placed { sequence: sent.sequence, duplicate: sent.duplicate };
            End::Known(sent.into_iter().map(placed).collect())
        }
        // It was handled before, or may have been.
        Err(
            error
            @ (Error::OutcomeUnknown { .. } | Error::ProducerForgotten { .. } | Error::Duplicate { .. }),
        ) => End::Unknown(error.to_string()),
        Err(error) => End::Refused(error.to_string()),
    }
}

/// How a settle ended.
pub(super) fn of_settle(result: Result<(), Error>) -> End<Settled> {
    match result {
        Ok(()) => End::Known(Settled::Done),
        Err(Error::LeaseOver { .. }) => End::Known(Settled::Over),
        Err(error) => End::Unknown(error.to_string()),
    }
}
