//! The admin endpoint over real connections, asked by a plain client and by our own command line.

#[path = "admin/api.rs"]
mod api;
#[path = "admin/commands.rs"]
mod commands;
#[path = "admin/load.rs"]
mod load;
#[path = "admin/support.rs"]
mod support;
