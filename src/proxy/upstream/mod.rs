//! The upstream's side of a request: failures, retries and their budgets.

pub(in crate::proxy) mod failure;
pub(in crate::proxy) mod jobs;
pub(in crate::proxy) mod moves;
pub(in crate::proxy) mod peer;
pub(in crate::proxy) mod retry;
pub(in crate::proxy) mod retry_budget;
pub(in crate::proxy) mod second_opinion;
pub(in crate::proxy) mod session_views;
pub(in crate::proxy) mod tunnel;
