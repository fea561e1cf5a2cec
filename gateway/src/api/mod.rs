//! The device orchestration API, as [`weft_model::api`] states it, and the servers that carry it and DoH.

pub mod answer;
pub mod auth;
pub mod limit;
pub mod refusal;
pub mod registration;
pub mod routes;
pub mod serve;

pub use answer::Answers;
pub use routes::{inside, outside, plain_inside};
