//! Real `phalanx` processes under real faults, judged by their histories.
//!
//! A run starts a cluster, lets clients work on it, lets a nemesis strike, and writes down what the clients did and saw. The checkers know nothing but
//! that history. Nothing here knows how Phalanx works inside: it is a black box with an API, a data directory and a clock.
#![deny(missing_docs)]

pub mod check;
pub mod cluster;
pub mod command;
pub mod edn;
pub mod history;
pub mod machine;
pub mod nemesis;
pub mod net;
pub mod report;
pub mod run;
pub mod survey;
pub mod workload;
