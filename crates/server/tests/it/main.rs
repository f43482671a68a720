//! The node, tested from outside: one binary, so that it is linked once.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod api_golden;
mod authorization;
mod batcher;
mod bindings;
mod bootstrap;
mod clocks;
mod configuration;
mod damage;
mod dispatch;
mod errors;
mod looking;
mod memory;
mod messages;
mod overload;
mod queues;
mod replay;
mod requests;
mod streams;
mod support;
mod talk;
mod topics;
mod transfers;
mod waiting;
