//! Two stacks under simulated time.

mod common;
mod hostile;
mod serving;
mod simulation;
