//! Checks that a machine is what it must be: for tests, of this crate and of others.

use crate::machine::Machine;

/// Checks every structural invariant of the machine, and recomputes its digest from scratch.
///
/// Costs time in proportion to the state: for tests.
///
/// # Errors
/// What is wrong, for people.
pub fn check(machine: &Machine) -> Result<(), String> {
    machine.check()
}
