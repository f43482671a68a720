//! The client against a scripted cluster in the same process: no sockets, paused time, every fault on purpose.

mod consumer;
mod doubt;
mod fake;
mod for_each;
mod linger;
mod metrics;
mod producer;
mod routing;
mod send_all;
mod traces;
mod unary;
