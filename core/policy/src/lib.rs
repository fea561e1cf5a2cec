//! Split-tunnel set algebra, profile to settings to plan, and the packet-verdict snapshot.
//!
//! Pure decisions: [`compile_settings`] says which values are in force and who decided them, [`TunnelSet`] which
//! destinations the tunnel takes, [`compile_plan`] what the device's network shall look like, and
//! [`VerdictSnapshot`] what becomes of one packet. All of them are functions of their arguments.

pub mod defaults;
pub mod domains;
mod explain;
mod learnt;
mod plan;
mod set;
mod settings;
mod steps;
#[cfg(test)]
mod testing;
mod tunnel_set;
mod verdict;

pub use domains::{FallbackRule, FallbackRules, HostRules};
pub use explain::{explain_address, explain_host};
pub use learnt::{LearntFull, LearntHosts};
pub use plan::{PlanInputs, PlanPhase, compile_plan};
pub use set::NetSet;
pub use settings::{compile_managed_settings, compile_settings};
pub use tunnel_set::TunnelSet;
pub use verdict::{Verdict, VerdictSnapshot};
