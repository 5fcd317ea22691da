//! The faults of an instance, and the requests that they hit.

use std::time::Duration;

use crate::ogc::RequestClass;

/// One way of being broken. An [`Outage`] selects the requests it hits; on its own it hits all of
/// them.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Nothing listens: new connections are refused, open ones are closed once idle.
    Refuse,
    /// The servlet container is starting: the kernel accepts connections, and the instance does not
    /// read them. They are served after [`heals`].
    ///
    /// [`heals`]: super::Controls::heals
    Starting,
    /// Every new connection is reset as soon as it is accepted; open ones are closed once idle.
    ResetConnections,
    /// The request is read and never answered (a deadlock, or a full collection that never ends).
    Hang,
    /// The connection is reset: see [`When`].
    Reset(When),
    /// The connection is closed in good order instead of an answer, as at the end of a keep-alive
    /// time.
    Close,
    /// The answer starts only after this time.
    Slow(Duration),
    /// The answer comes in pieces of so many bytes, with a pause before each.
    Drip { bytes: usize, pause: Duration },
    /// The answer's head promises all of it, half of the body comes, and the connection is closed
    /// in good order.
    Truncate,
    /// The servlet container's error page with this status.
    Status(u16),
    /// The container's error page is sent while the body of the request is still coming, and the
    /// connection closed.
    AnswerEarly(u16),
    /// The bytes sent are not HTTP.
    Garbage,
    /// These bytes are sent for an answer, and the connection stays.
    Raw(&'static str),
    /// The head of the answer has so many fields that mean nothing.
    Fields(usize),
    /// Fast answers that report `java.lang.OutOfMemoryError`, with status 200 where the service's
    /// exceptions have it.
    OutOfMemory,
    /// As [`Fault::OutOfMemory`], with another text: `Stale file handle`,
    /// `Cannot get a connection, pool error`...
    Exception(&'static str),
    /// The container runs, the webapp does not: its 404 page for everything.
    Undeployed,
    /// Control-flow gave up waiting: 503, which means busy, not broken.
    Busy,
    /// Control-flow counts too many requests: 429.
    RateLimited,
}

/// When a connection is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// As soon as the head of the request is read; its body is not.
    BeforeReading,
    /// After the request is read, before it is executed.
    BeforeExecution,
    /// After the request is executed, before the first byte of the answer.
    BeforeAnswer,
    /// After the head and half of the body of the answer.
    InAnswer,
}

impl Fault {
    /// Hits requests of this class only (more than one: `only` again).
    pub fn only(self, class: RequestClass) -> Outage {
        Outage::from(self).only(class)
    }

    /// Limits the fault to requests whose path starts with `path`.
    pub fn under(self, path: &str) -> Outage {
        Outage::from(self).under(path)
    }

    /// Hits with this probability, by the instance's seed.
    pub fn sometimes(self, chance: f64) -> Outage {
        Outage::from(self).sometimes(chance)
    }

    /// Hits so many requests, then is over.
    pub fn times(self, times: u32) -> Outage {
        Outage::from(self).times(times)
    }

    /// Whole connections, not requests, suffer from it.
    pub(super) fn is_of_the_door(&self) -> bool {
        matches!(self, Self::Refuse | Self::Starting | Self::ResetConnections)
    }

    /// Strikes before the body of the request is read.
    pub(super) fn is_before_body(&self) -> bool {
        matches!(
            self,
            Self::AnswerEarly(_) | Self::Reset(When::BeforeReading)
        )
    }
}

/// A fault and the requests it hits.
#[derive(Clone, Debug)]
pub struct Outage {
    pub(super) fault: Fault,
    classes: Vec<RequestClass>,
    path: Option<String>,
    chance: f64,
    left: Option<u32>,
}

impl From<Fault> for Outage {
    fn from(fault: Fault) -> Self {
        Self {
            fault,
            classes: Vec::new(),
            path: None,
            chance: 1.0,
            left: None,
        }
    }
}

impl Outage {
    /// Limits the fault to requests of one class.
    pub fn only(mut self, class: RequestClass) -> Self {
        self.of_requests();
        self.classes.push(class);
        self
    }

    /// Limits the fault to requests under a path.
    pub fn under(mut self, path: &str) -> Self {
        self.of_requests();
        self.path = Some(path.to_owned());
        self
    }

    /// Limits the fault to a part of the requests.
    pub fn sometimes(mut self, chance: f64) -> Self {
        self.of_requests();
        self.chance = chance;
        self
    }

    /// Limits the fault to a number of requests.
    pub fn times(mut self, times: u32) -> Self {
        self.of_requests();
        self.left = Some(times);
        self
    }

    fn of_requests(&self) {
        assert!(
            !self.fault.is_of_the_door(),
            "{:?} is a fault of the listening socket: it cannot choose requests",
            self.fault
        );
    }

    /// Whether it hits this request; `chance` is a uniform draw. Counts the hit.
    pub(super) fn hits(&mut self, class: RequestClass, path: &str, chance: f64) -> bool {
        let hit = (self.classes.is_empty() || self.classes.contains(&class))
            && self
                .path
                .as_ref()
                .is_none_or(|prefix| path.starts_with(prefix.as_str()))
            && chance < self.chance
            && self.left != Some(0);
        if hit {
            self.left = self.left.map(|left| left - 1);
        }
        hit
    }

    pub(super) fn is_over(&self) -> bool {
        self.left == Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_hits_only_the_requests_it_names() {
        let mut outage = Fault::Status(500)
            .only(RequestClass::Map)
            .only(RequestClass::Tile)
            .under("/geoserver/wms");
        assert!(outage.hits(RequestClass::Map, "/geoserver/wms", 0.5));
        assert!(!outage.hits(RequestClass::Feature, "/geoserver/wms", 0.5));
        assert!(!outage.hits(RequestClass::Map, "/geoserver/ows", 0.5));
    }

    #[test]
    fn an_outage_of_two_times_is_over_after_two_hits() {
        let mut outage = Fault::Hang.times(2);
        assert!(
            outage.hits(RequestClass::Map, "/", 0.0) && outage.hits(RequestClass::Map, "/", 0.0)
        );
        assert!(outage.is_over() && !outage.hits(RequestClass::Map, "/", 0.0));
    }

    #[test]
    #[should_panic(expected = "listening socket")]
    fn a_closed_listener_cannot_choose_its_requests() {
        let _ = Fault::Refuse.only(RequestClass::Map);
    }
}
