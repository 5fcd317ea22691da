//! The Pingora adapter.

pub mod access_log;
pub mod budget;
pub mod evidence;
pub mod headers;
pub mod request_id;
pub mod respond;
mod sniff;
