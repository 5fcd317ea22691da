//! The probe results of one upstream, as the world sent them, and their consequences: kept the slow
//! and obvious way.

use std::time::Instant;

use geofront::cluster::{Cause, HealthState, Outcome};
use geofront::config::Health;

/// Everything one upstream answered to probes since it was last unknown.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// True for each probe that got an HTTP answer, the latest last.
    answers: Vec<bool>,
    pub(crate) reach: Known,
    /// True for each right answer. A busy or unreachable upstream adds nothing.
    contents: Vec<bool>,
    pub(crate) content: Known,
    /// When its content was first seen to be wrong since it was last right.
    wrong_since: Option<Instant>,
    /// The send time of its last probe since then that was answered wrongly.
    wrong_at: Option<Instant>,
    /// The time of the first right answer of another upstream to a probe sent since then.
    contradicted: Option<Instant>,
    /// The send time of its last probe that was answered rightly.
    right_at: Option<Instant>,
    /// Time of the first report of a right answer since it was last wrong.
    right_since: Option<Instant>,
    /// True if its last probe had no result because of a fault of ours.
    pub(crate) is_unheard: bool,
}

/// One fact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Known {
    #[default]
    Nothing,
    Good,
    Bad,
}

impl Known {
    fn after(self, history: &[bool], config: &Health) -> Self {
        let run = |kind: bool| {
            history
                .iter()
                .rev()
                .take_while(|is_good| **is_good == kind)
                .count()
        };
        match self {
            Self::Nothing => {
                history.last().map_or(
                    Self::Nothing,
                    |is_good| if *is_good { Self::Good } else { Self::Bad },
                )
            }
            Self::Good if run(false) >= config.fall as usize => Self::Bad,
            Self::Bad if run(true) >= config.rise as usize => Self::Good,
            Self::Good | Self::Bad => self,
        }
    }
}

impl Measured {
    pub(crate) fn heard(
        &mut self,
        outcome: &Outcome,
        sent_at: Instant,
        now: Instant,
        config: &Health,
    ) {
        self.is_unheard = matches!(outcome, Outcome::Failure(Cause::Local(_)));
        match outcome {
            Outcome::Failure(Cause::Local(_)) => return,
            Outcome::Failure(Cause::Connect(_) | Cause::Timeout(_) | Cause::Reset(_)) => {
                return self.heard_nothing(config);
            }
            Outcome::Success => {
                (self.wrong_since, self.contradicted, self.right_at) = (None, None, Some(sent_at));
                self.right_since.get_or_insert(now);
                self.judge_content(true, config);
            }
            Outcome::Failure(Cause::Credentials(_)) => {
                (self.wrong_since, self.contradicted) = (None, None);
                self.judge_content(true, config);
            }
            Outcome::Failure(_) => {
                self.wrong_since.get_or_insert(now);
                (self.wrong_at, self.right_since) = (Some(sent_at), None);
                self.judge_content(false, config);
            }
            Outcome::Busy => {}
        }
        self.answers.push(true);
        self.reach = self.reach.after(&self.answers, config);
    }

    fn judge_content(&mut self, is_right: bool, config: &Health) {
        self.contents.push(is_right);
        self.content = self.content.after(&self.contents, config);
    }

    /// Records that another upstream gave a right answer to a probe sent at `sent_at`.
    pub(crate) fn other_was_right(&mut self, sent_at: Instant, now: Instant) {
        if self.wrong_since.is_some_and(|since| since <= sent_at) {
            self.contradicted.get_or_insert(now);
        }
    }

    /// Records that no HTTP server answered. The next one to answer may be another process.
    pub(crate) fn heard_nothing(&mut self, config: &Health) {
        self.answers.push(false);
        let before = self.reach;
        self.reach = self.reach.after(&self.answers, config);
        if before != Known::Bad && self.reach == Known::Bad {
            *self = Self {
                answers: std::mem::take(&mut self.answers),
                reach: self.reach,
                ..Self::default()
            };
        }
    }

    pub(crate) fn has_answered(&self) -> bool {
        self.answers.contains(&true)
    }

    pub(crate) fn is_right(&self) -> bool {
        (self.reach, self.content) == (Known::Good, Known::Good)
    }

    /// Returns whether this upstream was right when the other was already wrong, and the other was
    /// wrong again when probed once more. Before that, a fault that both share may explain the
    /// wrong answer.
    pub(crate) fn shows_up(&self, other: &Self) -> bool {
        let (Some(wrong_since), Some(wrong_at)) = (other.wrong_since, other.wrong_at) else {
            return false;
        };
        let (Some(right_at), Some(right_since)) = (self.right_at, self.right_since) else {
            return false;
        };
        let was_probed_again =
            other.contradicted.is_some_and(|since| since <= wrong_at) && right_since <= wrong_at;
        self.is_right() && right_at >= wrong_since && was_probed_again
    }
}

/// The expected state of one upstream, and the reported one.
#[derive(Debug)]
pub(crate) struct Judged<'w> {
    pub(crate) measured: &'w Measured,
    pub(crate) health: HealthState,
    pub(crate) in_maintenance: bool,
    /// Its first probe is due or under way.
    pub(crate) is_awaited: bool,
}

/// Checks that an unreachable upstream is down and that one with right answers is up. An upstream
/// with wrong answers stays up until another is seen to do better. Once down, it returns when no
/// upstream does better and every one has been probed.
pub(crate) fn check_health(name: &str, one: &Judged<'_>, others: &[&Judged<'_>]) {
    let others = || others.iter().filter(|other| !other.in_maintenance);
    let is_shown_up = others().any(|other| other.measured.shows_up(one.measured));
    let may_do_better = others().any(|other| other.measured.is_right() || other.is_awaited);
    let is_right = match (one.measured.reach, one.measured.content, one.health) {
        (Known::Nothing, _, health) => health == HealthState::Unknown,
        (Known::Bad, _, health) => health == HealthState::Down,
        (Known::Good, Known::Good, health) => health == HealthState::Up,
        (Known::Good, Known::Bad | Known::Nothing, HealthState::Up) => !is_shown_up,
        (Known::Good, Known::Bad, HealthState::Down)
        | (Known::Good, Known::Nothing, HealthState::Unknown) => may_do_better,
        // Its content became unknown, or known, while it was out: it is what it was.
        (Known::Good, Known::Nothing, HealthState::Down) => may_do_better,
        (Known::Good, Known::Bad, HealthState::Unknown) => false,
    };
    assert!(is_right, "{name}: {one:?}");
}
