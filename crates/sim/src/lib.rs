//! Deterministic simulation of the real node
