//! Time limits that do not run while this process does not.
//!
//! A process stands still while its container is paused, its virtual machine is moved, or other
//! processes have the CPU. When it runs again, its timers go off at once, and often before the
//! answers are read that came meanwhile. A limit that ends like this shows nothing about the other
//! side. So a limit is waited for in slices, and a slice that ends late by more than its own length
//! extends the limit by the time that was lost. Each slice uses up its own length in any case, so
//! that their number is bounded.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// Number of slices of a limit, unless their length is given.
pub const SLICES: u32 = 16;

/// The end of a wait by its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitEnd {
    /// The limit is over.
    Over,
    /// The limit is over, and this process did not run in time in half of the slices. That is too
    /// little for a judgement about the other side.
    Starved,
}

/// A time limit; see the module's documentation.
#[derive(Debug)]
pub struct OwnTimeLimit {
    until: Instant,
    slice: Duration,
    /// The end of the current slice.
    due: Instant,
    slices: u32,
    late_slices: u32,
}

impl OwnTimeLimit {
    /// Creates a limit that ends at `until`, and is waited for in slices of this length.
    pub fn until(until: Instant, slice: Duration) -> Self {
        Self {
            until,
            slice,
            due: Instant::now() + slice,
            slices: 0,
            late_slices: 0,
        }
    }

    /// Waits for `future` until the limit is over. Several waits in turn share the limit.
    pub async fn bound<T>(&mut self, future: impl Future<Output = T>) -> Result<T, LimitEnd> {
        let mut future = pin!(future);
        loop {
            match timeout_at(self.begin_slice(), future.as_mut()).await {
                Ok(result) => return Ok(result),
                Err(_) => self.check()?,
            }
        }
    }

    /// Begins a slice. Returns its end, at which [`Self::check`] is called.
    pub fn begin_slice(&mut self) -> Instant {
        let now = Instant::now();
        // The wait in the last slice may have ended late by itself.
        self.extend(now);
        self.due = self.until.min(now + self.slice).max(now);
        self.slices += 1;
        self.due
    }

    /// Checks the limit at the end of a slice.
    pub fn check(&mut self) -> Result<(), LimitEnd> {
        let now = Instant::now();
        self.extend(now);
        if now < self.until {
            Ok(())
        } else if self.late_slices * 2 >= self.slices {
            Err(LimitEnd::Starved)
        } else {
            Err(LimitEnd::Over)
        }
    }

    /// Extends the limit by the time for which the current slice has been over, if that is long.
    fn extend(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.due);
        if late > self.slice {
            self.until += late;
            self.due = now;
            self.late_slices += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use tokio::time::{advance, timeout};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(1600);
    const SLICE: Duration = Duration::from_millis(100);
    const PAUSE: Duration = Duration::from_secs(60);
    const MILLISECOND: Duration = Duration::from_millis(1);

    fn limit() -> OwnTimeLimit {
        OwnTimeLimit::until(Instant::now() + LIMIT, SLICE)
    }

    /// Lets time pass in which this process runs.
    async fn pass(time: Duration) {
        timeout(time, std::future::pending::<()>()).await.ok();
    }

    /// Waits for an answer that takes `work` of the time in which this process runs. It stands
    /// still for [`PAUSE`] once the wait has lasted for `before`.
    async fn wait(work: Duration, before: Duration) -> Result<(), LimitEnd> {
        let (answer, answered) = oneshot::channel();
        let mut limit = limit();
        let began = Instant::now();
        let wait = tokio::spawn(async move { limit.bound(answered).await.map(|_| ()) });
        pass(before).await;
        advance(PAUSE).await;
        pass((began + PAUSE + work).saturating_duration_since(Instant::now())).await;
        answer.send(()).ok();
        wait.await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_ends_when_it_is_over() {
        let (mut limit, began) = (limit(), Instant::now());
        let end = limit.bound(std::future::pending::<()>()).await;
        assert_eq!((end, began.elapsed()), (Err(LimitEnd::Over), LIMIT));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_of_the_process_uses_up_no_more_than_a_slice_whenever_it_comes() {
        for before in [1, 50, 800, 1490].map(|milliseconds| MILLISECOND * milliseconds) {
            assert_eq!(wait(LIMIT - SLICE - MILLISECOND, before).await, Ok(()));
            let slow = wait(LIMIT + MILLISECOND, before).await;
            assert_eq!(slow, Err(LimitEnd::Over), "{before:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_wait_has_its_time_after_one_that_ended_in_a_pause() {
        let (mut limit, began) = (limit(), Instant::now());
        let paused = limit.bound(async { advance(PAUSE).await }).await;
        assert_eq!(paused, Ok(()));
        let end = limit.bound(std::future::pending::<()>()).await;
        assert_eq!(end, Err(LimitEnd::Over));
        assert_eq!(began.elapsed(), PAUSE + LIMIT - SLICE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_stands_still_again_and_again_is_starved_and_comes_to_an_end() {
        let mut limit = limit();
        for _ in 1..LIMIT.as_millis() / SLICE.as_millis() {
            limit.begin_slice();
            advance(PAUSE).await;
            assert_eq!(limit.check(), Ok(()));
        }
        limit.begin_slice();
        advance(PAUSE).await;
        assert_eq!(limit.check(), Err(LimitEnd::Starved));
    }
}
