//! The admin endpoint over real connections, from a plain client and from the command line.

#[path = "admin/access.rs"]
mod access;
#[path = "admin/api.rs"]
mod api;
#[path = "admin/commands.rs"]
mod commands;
#[path = "admin/explain.rs"]
mod explain;
#[path = "admin/load.rs"]
mod load;
#[path = "admin/page.rs"]
mod page;
#[path = "admin/support.rs"]
mod support;
#[path = "ogc_shared/table.rs"]
mod table;
