//! Decides which requests are admitted, which wait, and in which order: pure data structures. The
//! awaitable place is `waiting_room`.
//!
//! ```text
//!   request -- ConcurrencyKeys, Metered --> the limits that concern it
//!                Rates             too many in this window: 429
//!                Limiter           too many at a time under a rule, or of a user: waits
//!                OverloadDetector  too many of its priority wait in vain: 503
//!                Queue             which waiter is next
//!                Waitlist          all of these together, in the order of their steps
//! ```

mod adaptive_limit;
mod concurrency_keys;
mod limiter;
mod overload;
mod pace;
mod queue;
mod rates;
mod status;
mod waitlist;

pub use adaptive_limit::{AdaptiveLimit, Answered};
pub use concurrency_keys::{Client, ConcurrencyKeys, Metered};
pub use limiter::{LimitCheck, Limiter};
pub use overload::{OverloadDetector, STANDING_AFTER};
pub use pace::Pace;
pub use queue::{AGEING, Offer, Pushed, Queue, SlotRequest, Waiter, WaiterId};
pub use rates::{MAX_COUNTED, RateState, Rates};
pub use status::{ClassWaiting, MAX_USERS, QueueStatus, UserWaiting};
pub use waitlist::{
    Newcomer, RECHECK_INTERVAL, SlotSearch, Slots, Waitlist, WaitlistAnswer, WaitlistResult,
    may_bypass,
};
