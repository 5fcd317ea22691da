//! The admin endpoint over real connections.

#[path = "admin/api.rs"]
mod api;
#[path = "admin/support.rs"]
mod support;
