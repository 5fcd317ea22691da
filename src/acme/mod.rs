//! Certificates by ACME, as far as the proxy and the driver share them: the files in the folder of
//! `[acme]`, the running challenges, and when an order is due.
//!
//! All state is in the folder, so that several processes agree: while geofront restarts, the
//! authority may connect to the old process or the new one, whichever of them ordered.
//!
//! ```text
//! account.json      the account at the authority, with its key
//! NAME.pem          chain and key of listener NAME
//! attempts.json     failed orders, and when the next may begin
//! challenges.json   while an order runs: what the authority will request
//! orders.lock       held by the process that orders
//! ```

pub mod challenges;
pub mod files;
pub mod schedule;
