//! Tests of the machine from outside: its promises, against a naive model, against garbage, and its stored bytes.
#![allow(clippy::unwrap_used)]

mod catalog;
mod support;
