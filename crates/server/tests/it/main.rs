//! The node, tested from outside: one binary, so that it is linked once.

mod api_golden;
mod authorization;
mod bootstrap;
mod configuration;
mod queues;
mod support;
