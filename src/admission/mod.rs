//! Who may come in, who waits, and in which order: pure data structures. Waiting itself is in
//! `proxy`.
//!
//! ```text
//!   request -- Claim, Metered --> which limits concern it
//!                Rates            too many in this window: 429
//!                Limiter          too many at a time under a rule, or of a user: waits
//!                StandingQueue    too many of its priority wait in vain: 503
//!                Queue            who is next
//! ```

mod auto_cap;
mod claim;
mod lane;
mod limiter;
mod pace;
mod queue;
mod rates;
mod standing_queue;
mod status;

pub use auto_cap::{Answered, AutoCap};
pub use claim::{Claim, Client, Hold, Metered};
pub use limiter::{Limiter, Passage};
pub use pace::Pace;
pub use queue::{AGEING, Ask, Offer, Pushed, Queue, Ticket, Waiter};
pub use rates::{MOST_COUNTED, Rates, Reading};
pub use standing_queue::{STANDS, StandingQueue};
pub use status::{ClassWaiting, QueueStatus};
