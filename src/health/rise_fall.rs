//! One fact that probes measure: unknown, up or down.
//!
//! The first probe of an upstream decides alone, because nothing is served by it yet; so a start
//! takes one round of probes. From then on, `fall` consecutive failures take it down and `rise`
//! consecutive passes bring it back.

use std::fmt;

/// The measured state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthState {
    Unknown,
    Up,
    Down,
}

impl HealthState {
    /// Returns the word for it in logs, answers and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

impl fmt::Display for HealthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The health of an upstream, and the run of probes that contradict it.
#[derive(Clone, Debug)]
pub struct RiseFall {
    state: HealthState,
    /// Number of consecutive probes that contradict `state`.
    against: u32,
}

impl RiseFall {
    /// Returns the state before the first probe.
    pub const fn new() -> Self {
        Self {
            state: HealthState::Unknown,
            against: 0,
        }
    }

    /// Returns the measured state.
    pub const fn state(&self) -> HealthState {
        self.state
    }

    /// True if the measured state is up.
    pub fn is_up(&self) -> bool {
        self.state == HealthState::Up
    }

    /// True if the last probe contradicts the state, so that the next one should come soon.
    pub const fn is_wavering(&self) -> bool {
        self.against > 0
    }

    /// Records a passed probe; returns the new state if it changed.
    pub fn passed(&mut self, rise: u32) -> Option<HealthState> {
        match self.state {
            HealthState::Up => self.confirm(),
            HealthState::Unknown => self.change(HealthState::Up),
            HealthState::Down => self.contradict(rise, HealthState::Up),
        }
    }

    /// Records a failed probe; returns the new state if it changed.
    pub fn failed(&mut self, fall: u32) -> Option<HealthState> {
        match self.state {
            HealthState::Down => self.confirm(),
            HealthState::Unknown => self.change(HealthState::Down),
            HealthState::Up => self.contradict(fall, HealthState::Down),
        }
    }

    fn confirm(&mut self) -> Option<HealthState> {
        self.against = 0;
        None
    }

    fn contradict(&mut self, enough: u32, state: HealthState) -> Option<HealthState> {
        self.against += 1;
        if self.against >= enough {
            self.change(state)
        } else {
            None
        }
    }

    fn change(&mut self, state: HealthState) -> Option<HealthState> {
        *self = Self { state, against: 0 };
        Some(state)
    }
}

impl Default for RiseFall {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use HealthState::{Down, Unknown, Up};

    /// The state after each probe (`+` passed, `-` failed), with `rise` 2 and `fall` 3.
    fn states(probes: &str) -> Vec<HealthState> {
        let mut health = RiseFall::new();
        let probe = |probe| {
            match probe {
                '+' => health.passed(2),
                _ => health.failed(3),
            };
            health.state()
        };
        probes.chars().map(probe).collect()
    }

    #[test]
    fn health_is_unknown_before_the_first_probe() {
        assert_eq!(RiseFall::new().state(), Unknown);
    }

    #[test]
    fn the_first_probe_decides() {
        assert_eq!(states("+"), [Up]);
        assert_eq!(states("-"), [Down]);
    }

    #[test]
    fn only_fall_failures_in_a_row_take_it_down() {
        assert_eq!(states("+--+---"), [Up, Up, Up, Up, Up, Up, Down]);
    }

    #[test]
    fn only_rise_passes_in_a_row_bring_it_back() {
        assert_eq!(states("-+-++"), [Down, Down, Down, Down, Up]);
    }

    #[test]
    fn a_change_is_reported_once() {
        let mut health = RiseFall::new();
        assert_eq!(health.passed(2), Some(Up));
        assert_eq!(health.passed(2), None);
        assert_eq!(
            [health.failed(2), health.failed(2), health.failed(2)],
            [None, Some(Down), None]
        );
    }

    #[test]
    fn it_wavers_only_while_probes_contradict_its_state() {
        let mut health = RiseFall::new();
        health.passed(2);
        assert!(!health.is_wavering());
        health.failed(3);
        assert!(health.is_wavering());
        health.passed(2);
        assert!(!health.is_wavering());
    }

    /// Checks all sequences of ten probes: an upstream comes up only after `rise` passes, and goes
    /// down only after `fall` failures.
    #[test]
    fn in_every_short_history_changes_have_their_run_of_probes() {
        for code in 0..1_u32 << 10 {
            let history: String = (0..10)
                .map(|bit| if code >> bit & 1 == 1 { '+' } else { '-' })
                .collect();
            let states = states(&history);
            for at in 1..10 {
                match (states[at - 1], states[at]) {
                    (Down, Up) => assert!(history[..=at].ends_with("++"), "{history} at {at}"),
                    (Up, Down) => assert!(history[..=at].ends_with("---"), "{history} at {at}"),
                    (before, after) => assert_eq!(before, after, "{history} at {at}"),
                }
            }
        }
    }
}
