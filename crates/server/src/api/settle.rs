//! `Messages.Settle`, and settling as such: checks, the command, its outcomes.

use phalanx_proto::v1;
use phalanx_state_machine::command::{Command, CommandKind, Settle, SettleAction, SettleItem, TokenRange};
use phalanx_state_machine::ids::{Id128, QueueUid};
use phalanx_state_machine::reply::{Reply, SettleOutcome, SettleResult};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::messages::limits::{LEASE_MS_MAX, SETTLE_ITEMS_MAX, TOKEN_RANGES_MAX};
use super::messages::{Call, MessagesApi, at_leader, target, unexpected};
use crate::authorize;
use crate::convert;
use crate::forward::Loss;
use crate::router::Local;
use crate::status;

pub(super) async fn settle(
    api: &MessagesApi,
    request: Request<v1::SettleRequest>,
) -> Result<Response<v1::SettleResponse>, Status> {
    let caller = api.caller(&request)?;
    let request = request.into_inner();
    api.state.admit(&caller, &authorize::SETTLE, &target(&request.namespace, &request.queue))?;
    let namespace = convert::namespace(&request.namespace)?;
    let queue = convert::queue_name("queue", &request.queue)?;
    let consumer = convert::id("consumer_id", &request.consumer_id)?;
    let items = items_in(&request.items)?;
    let deadline = Instant::now() + caller.unary_deadline();
    let rule = &authorize::SETTLE;
    let call =
        Call { state: &api.state, caller: &caller, rule, namespace, queue, deadline, loss: Loss::Write };
    at_leader(&call, &request, |local| serve(local, consumer, items.clone(), deadline)).await
}

async fn serve(
    local: Local,
    consumer: Id128,
    items: Vec<SettleItem>,
    deadline: Instant,
) -> Result<v1::SettleResponse, Status> {
    let command = command(local.uid, consumer, items);
    match local.shard.batcher.enqueue(command, deadline)?.await? {
        Reply::Settled { outcomes } => Ok(v1::SettleResponse { outcomes: outcomes_out(&outcomes) }),
        other => Err(unexpected(other)),
    }
}

/// The command that settles `items`.
pub(super) fn command(uid: QueueUid, consumer: Id128, items: Vec<SettleItem>) -> Command {
    Command::from(CommandKind::Settle(Settle { uid, consumer, items }))
}

/// Settles as clients write them.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub(super) fn items_in(items: &[v1::SettleItem]) -> Result<Vec<SettleItem>, Status> {
    if items.is_empty() {
        return Err(status::invalid("items", "must hold at least one item"));
    }
    if items.len() > SETTLE_ITEMS_MAX {
        return Err(status::invalid(
            "items",
            format_args!("count: {}, at most {SETTLE_ITEMS_MAX}", items.len()),
        ));
    }
    let ranges: usize = items.iter().map(|item| item.tokens.len()).sum();
    if ranges > TOKEN_RANGES_MAX {
        let why = format_args!("ranges together: {ranges}, at most {TOKEN_RANGES_MAX}");
        return Err(status::invalid("items.tokens", why));
    }
    items.iter().map(item_in).collect()
}

fn item_in(item: &v1::SettleItem) -> Result<SettleItem, Status> {
    let action = match v1::SettleAction::try_from(item.action) {
        Ok(v1::SettleAction::Ack) => SettleAction::Ack,
        Ok(v1::SettleAction::Nack) => SettleAction::Nack,
        Ok(v1::SettleAction::Reject) => SettleAction::Reject,
        Ok(v1::SettleAction::Extend) => SettleAction::Extend,
        Ok(v1::SettleAction::Unspecified) | Err(_) => {
            return Err(status::invalid("items.action", "is not an action that this version knows"));
        }
    };
    if item.tokens.is_empty() && item.up_to == 0 {
        return Err(status::invalid("items", "an item must name tokens or up_to"));
    }
    for (field, ms) in [("items.delay_ms", item.delay_ms), ("items.lease_ms", item.lease_ms)] {
        if ms > LEASE_MS_MAX {
            return Err(status::invalid(field, format_args!("{ms} ms, at most {LEASE_MS_MAX}")));
        }
    }
    Ok(SettleItem {
        action: action as i32,
        tokens: ranges_in("items.tokens", &item.tokens)?,
        up_to: item.up_to,
        delay_ms: item.delay_ms,
        lease_ms: item.lease_ms,
    })
}

/// Ranges as clients write them.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub(super) fn ranges_in(field: &str, ranges: &[v1::TokenRange]) -> Result<Vec<TokenRange>, Status> {
    if ranges.len() > TOKEN_RANGES_MAX {
        let why = format_args!("ranges: {}, at most {TOKEN_RANGES_MAX}", ranges.len());
        return Err(status::invalid(field, why));
    }
    let range = |range: &v1::TokenRange| {
        if range.first == 0 || range.last < range.first {
            let why = format_args!("{}..={} is not a range of tokens", range.first, range.last);
            return Err(status::invalid(field, why));
        }
        Ok(TokenRange { first: range.first, last: range.last })
    };
    ranges.iter().map(range).collect()
}

/// Outcomes as clients read them: neighbours with the same result in one.
pub(super) fn outcomes_out(outcomes: &[SettleOutcome]) -> Vec<v1::SettleOutcome> {
    let mut out: Vec<v1::SettleOutcome> = Vec::new();
    for outcome in outcomes {
        let (result, deadline_ms) = match outcome.result {
            SettleResult::Acked => (v1::SettleResult::Acked, 0),
            SettleResult::Nacked => (v1::SettleResult::Nacked, 0),
            SettleResult::Rejected => (v1::SettleResult::Rejected, 0),
            SettleResult::Extended(deadline_ms) => (v1::SettleResult::Extended, deadline_ms),
            SettleResult::LeaseOver => (v1::SettleResult::LeaseOver, 0),
        };
        let result = result as i32;
        if let Some(last) = out.last_mut()
            && let Some(tokens) = &mut last.tokens
            && tokens.last.checked_add(1) == Some(outcome.token)
            && last.result == result
            && last.deadline_ms == deadline_ms
        {
            tokens.last = outcome.token;
            continue;
        }
        let tokens = Some(v1::TokenRange { first: outcome.token, last: outcome.token });
        out.push(v1::SettleOutcome { tokens, result, deadline_ms });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(token: u64, result: SettleResult) -> SettleOutcome {
        SettleOutcome { token, result }
    }

    #[test]
    fn neighbouring_tokens_with_the_same_result_come_as_one() {
        let out = outcomes_out(&[
            outcome(1, SettleResult::Acked),
            outcome(2, SettleResult::Acked),
            outcome(3, SettleResult::LeaseOver),
            outcome(4, SettleResult::Acked),
            outcome(6, SettleResult::Acked),
            outcome(7, SettleResult::Extended(50)),
            outcome(8, SettleResult::Extended(60)),
        ]);
        let ranges: Vec<_> = out
            .iter()
            .map(|one| (one.tokens.unwrap().first, one.tokens.unwrap().last, one.deadline_ms))
            .collect();
        assert_eq!(ranges, [(1, 2, 0), (3, 3, 0), (4, 4, 0), (6, 6, 0), (7, 7, 50), (8, 8, 60)]);
        assert_eq!(out[1].result, v1::SettleResult::LeaseOver as i32);
    }

    #[test]
    fn malformed_settles_are_refused_before_anything_is_written() {
        let item = |action: i32, first: u64, last: u64| v1::SettleItem {
            action,
            tokens: vec![v1::TokenRange { first, last }],
            ..v1::SettleItem::default()
        };
        assert!(items_in(&[item(1, 1, 1)]).is_ok());
        assert!(items_in(&[]).is_err());
        assert!(items_in(&[item(0, 1, 1)]).is_err(), "no action");
        assert!(items_in(&[item(99, 1, 1)]).is_err(), "unknown action");
        assert!(items_in(&[item(1, 2, 1)]).is_err(), "backwards");
        assert!(items_in(&[item(1, 0, 1)]).is_err(), "token 0");
        assert!(items_in(&[v1::SettleItem { action: 1, ..v1::SettleItem::default() }]).is_err(), "no token");
        assert!(items_in(&[v1::SettleItem { delay_ms: LEASE_MS_MAX + 1, ..item(2, 1, 1) }]).is_err());
    }
}
