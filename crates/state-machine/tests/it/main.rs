//! Tests of the machine from outside: its promises, against a naive model, against garbage, and its stored bytes.
#![allow(clippy::unwrap_used)]

mod bindings;
mod bounded;
mod catalog;
mod failover;
mod garbage;
mod golden;
mod large;
mod memory;
mod model;
mod rotten;
mod support;
mod topics;
mod wild;
