//! `[limits]`, and the limits of single upstreams and classes.

use std::time::Duration;

use super::check::Check;
use crate::config::control_flow::statement;
use crate::config::count::Count;
use crate::config::diagnostics::Problem;
use crate::config::raw::{RawLimits, Slot};
use crate::config::source::At;
use crate::config::value::{Show, Written};
use crate::config::{ControlFlow, Limits, MaxInFlight, PerUser, Priority, defaults};

impl Check<'_> {
    pub(super) fn limits(&mut self, raw: &RawLimits) -> Limits {
        let max_in_flight = self.max_in_flight(
            "limits.max_in_flight",
            &raw.max_in_flight,
            (defaults::MAX_IN_FLIGHT, None),
        );
        let control_flow = self.control_flow(&raw.control_flow);
        let head_size = self.within(
            "limits.head_size",
            &raw.head_size,
            defaults::HEAD_SIZE,
            defaults::HEAD_SIZES,
        );
        let head_fields = self.count(
            "limits.head_fields",
            &raw.head_fields,
            defaults::HEAD_FIELDS,
            defaults::HEAD_FIELD_COUNTS,
        );
        Limits {
            max_in_flight,
            queue: self.count(
                "limits.queue",
                &raw.queue,
                defaults::QUEUE,
                defaults::QUEUES,
            ),
            queue_timeout: self.queue_timeout(&raw.queue_timeout, &control_flow),
            per_user: self.per_user(&raw.per_user),
            quick_reserve: self.count(
                "limits.quick_reserve",
                &raw.quick_reserve,
                defaults::QUICK_RESERVE,
                defaults::QUICK_RESERVES,
            ),
            heavy_share: self.count(
                "limits.heavy_share",
                &raw.heavy_share,
                defaults::HEAVY_SHARE,
                defaults::SHARES,
            ),
            heavy_map_pixels: self.count(
                "limits.heavy_map_pixels",
                &raw.heavy_map_pixels,
                defaults::HEAVY_MAP_PIXELS,
                defaults::MAP_PIXELS,
            ),
            head_size: usize::try_from(head_size.0).unwrap_or(usize::MAX),
            head_fields: head_fields as usize,
            control_flow,
        }
    }

    /// Reads a limit. `otherwise` is the value without the key, and its origin.
    pub(super) fn max_in_flight(
        &mut self,
        key: &str,
        slot: &Slot<Count>,
        otherwise: (MaxInFlight, Option<At>),
    ) -> MaxInFlight {
        match self.places(key, slot, otherwise.0.into(), otherwise.1) {
            Count::Auto => MaxInFlight::Auto,
            Count::Off => MaxInFlight::Off,
            Count::Number(cap) => u32::try_from(cap).map_or(otherwise.0, MaxInFlight::Fixed),
        }
    }

    fn per_user(&mut self, slot: &Slot<Count>) -> PerUser {
        match self.places("limits.per_user", slot, defaults::PER_USER.into(), None) {
            Count::Auto => PerUser::Auto,
            Count::Off => PerUser::Off,
            Count::Number(most) => u32::try_from(most).map_or(defaults::PER_USER, PerUser::Fixed),
        }
    }

    fn places(
        &mut self,
        key: &str,
        slot: &Slot<Count>,
        default: Count,
        default_at: Option<At>,
    ) -> Count {
        let count = slot.given().map_or(default, |written| written.value);
        self.note(key, count.show(), slot.at().or(default_at));
        let (least, most) = defaults::PLACES.into_inner();
        match (count, slot.at()) {
            (Count::Number(number), Some(at)) if !(least..=most).contains(&number) => {
                let title =
                    format!("`{key}` is {number}: must be {least} to {most}, \"auto\" or \"off\"");
                self.refuse(Problem::new(title).at(at));
                default
            }
            (count, _) => count,
        }
    }

    pub(super) fn priority(&mut self, key: &str, slot: &Slot<i64>, default: Priority) -> Priority {
        let range = Priority::FIRST.get().into()..=Priority::LAST.get().into();
        let priority = self.count(key, slot, default.get().into(), range);
        u8::try_from(priority)
            .ok()
            .and_then(Priority::new)
            .unwrap_or(default)
    }

    /// Reads the rules, one per line. A mistake in one line does not hide those in others.
    fn control_flow(&mut self, slot: &Slot<Vec<Written<String>>>) -> ControlFlow {
        self.list("limits.control_flow", slot, Vec::new());
        let mut rules = ControlFlow::default();
        for line in slot.given().map(|list| &list.value[..]).unwrap_or_default() {
            let added = statement(&line.value)
                .map_err(|wrong| (wrong.title, wrong.hint))
                .and_then(|statement| {
                    let key = line
                        .value
                        .split('=')
                        .next()
                        .unwrap_or_default()
                        .trim()
                        .to_owned();
                    rules.add(statement).map_err(|why| {
                        (
                            format!("`{}` in `limits.control_flow`: {why}", key.escape_debug()),
                            String::new(),
                        )
                    })
                });
            if let Err((title, hint)) = added {
                self.refuse(Problem::new(title).at(line.at).label(hint));
            }
        }
        rules
    }

    /// Reads `queue_timeout` or GeoServer's name for it; both together are refused.
    fn queue_timeout(&mut self, slot: &Slot<Duration>, control_flow: &ControlFlow) -> Duration {
        let default = control_flow.timeout.unwrap_or(defaults::QUEUE_TIMEOUT);
        let timeout = self.within("limits.queue_timeout", slot, default, defaults::QUEUE_TIMES);
        let written = slot
            .given()
            .filter(|written| written.value == timeout)
            .map(|written| written.at);
        if let (Some(at), Some(other)) = (written, control_flow.timeout) {
            let title = format!(
                "`limits.queue_timeout` is {}, and `control_flow` has timeout={}",
                timeout.show(),
                other.as_secs()
            );
            self.refuse(Problem::new(title).at(at).label("leave one of them out"));
        }
        timeout
    }
}
