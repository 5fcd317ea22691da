//! Modes ordered by an operator, and the reasons for refusing an order.

use std::fmt;

use crate::config::UpstreamName;
use crate::ogc::RequestClass;

/// The mode of an upstream (HAProxy's READY, DRAIN, MAINT).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Ready,
    /// No new requests. Running ones may finish, and probes continue.
    Drain,
    /// No requests and no probes. An upstream that leaves this mode is unknown until a probe
    /// passed.
    Maintenance,
}

impl Mode {
    /// All modes.
    pub const ALL: [Self; 3] = [Self::Ready, Self::Drain, Self::Maintenance];

    /// Returns the word for it in commands, logs and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maintenance => "maintenance",
        }
    }

    /// Returns the mode of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == name)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An operator's order for one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModeOrder {
    pub mode: Mode,
    /// True if the order is carried out even if no upstream serves some class afterwards.
    pub force: bool,
    /// The origin of the order; `None` in simulations, where no person orders.
    pub origin: Option<ModeOrigin>,
}

/// The origin of the mode in force. It is shown, logged, and survives a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModeOrigin {
    /// The operator's name if one was given, and the client's address.
    pub by: String,
    /// Seconds since 1970, UTC.
    pub at: u64,
}

/// The reason why a mode change was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModeError {
    NoSuchUpstream(String),
    /// The upstream is the last one for some classes. `--force` overrides this.
    LastServing(LastServing),
}

/// An upstream is the last one that serves these classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastServing {
    pub name: UpstreamName,
    pub classes: Vec<RequestClass>,
}

impl fmt::Display for ModeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchUpstream(name) => write!(f, "no upstream is called `{name}`"),
            Self::LastServing(LastServing { name, classes }) => {
                write!(f, "`{name}` is the last upstream that serves ")?;
                if classes.len() == RequestClass::ALL.len() {
                    return f.write_str("requests");
                }
                let classes: Vec<_> = classes.iter().map(|class| class.as_str()).collect();
                write!(f, "requests of the classes {}", classes.join(", "))
            }
        }
    }
}

impl std::error::Error for ModeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_is_found_by_its_name() {
        assert!(
            Mode::ALL
                .iter()
                .all(|&mode| Mode::named(mode.as_str()) == Some(mode))
        );
        assert_eq!(Mode::named("READY"), None);
    }

    #[test]
    fn a_refused_mode_names_the_classes_that_no_upstream_would_serve() {
        let name = UpstreamName::new("main").unwrap();
        let refusal = |classes: Vec<RequestClass>| {
            let name = name.clone();
            ModeError::LastServing(LastServing { name, classes }).to_string()
        };
        assert_eq!(
            refusal(vec![RequestClass::Transaction, RequestClass::Admin]),
            "`main` is the last upstream that serves requests of the classes transaction, admin"
        );
        assert_eq!(
            refusal(RequestClass::ALL.to_vec()),
            "`main` is the last upstream that serves requests"
        );
    }

    #[test]
    fn modes_have_the_names_of_the_commands_that_set_them() {
        assert_eq!(
            Mode::ALL.map(Mode::as_str),
            ["ready", "drain", "maintenance"]
        );
    }
}
