//! Which requests are admitted, which wait, and in which order: pure data structures. The awaitable
//! place is `waiting_room`.
//!
//! ```text
//!   request -- Claim, Metered --> which limits concern it
//!                Rates            too many in this window: 429
//!                Limiter          too many at a time under a rule, or of a user: waits
//!                StandingQueue    too many of its priority wait in vain: 503
//!                Queue            which is next
//!                Waitlist         all of these together, in the order of their steps
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
mod waitlist;

pub use auto_cap::{Answered, AutoCap};
pub use claim::{Claim, Client, Hold, Metered};
pub use limiter::{Limiter, Passage};
pub use pace::Pace;
pub use queue::{AGEING, Ask, Offer, Pushed, Queue, Ticket, Waiter};
pub use rates::{MOST_COUNTED, Rates, Reading};
pub use standing_queue::{STANDS, StandingQueue};
pub use status::{ClassWaiting, QueueStatus};
pub use waitlist::{
    AskResult, Newcomer, RECHECK_INTERVAL, SlotSearch, Slots, WaitResult, Waitlist, may_bypass,
};
