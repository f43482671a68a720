//! The Rust client of Phalanx
