//! The words of the admin API for role, health, mode and phase: enums with the names that stand in
//! its JSON.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cluster::{self, HealthState, ReloadPhase};
use crate::config;

/// Defines an enum by its words, with a conversion from the type of the same variants inside.
macro_rules! words {
    (
        $(#[$doc:meta])*
        $name:ident of $inside:ty { $($(#[$of_word:meta])* $variant:ident = $word:literal,)+ }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$of_word])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// The word in JSON.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl From<$inside> for $name {
            fn from(inside: $inside) -> Self {
                match inside {
                    $(<$inside>::$variant => Self::$variant,)+
                }
            }
        }
    };
}

words! {
    /// The role of an upstream.
    Role of config::Role {
        Main = "main",
        #[default]
        Replica = "replica",
    }
}

words! {
    /// The health of an upstream, as its probes found it.
    Health of HealthState {
        /// Not probed yet.
        #[default]
        Unknown = "unknown",
        Up = "up",
        Down = "down",
    }
}

words! {
    /// The mode of an upstream, as an operator ordered it.
    Mode of cluster::Mode {
        #[default]
        Ready = "ready",
        Drain = "drain",
        Maintenance = "maintenance",
    }
}

words! {
    /// The phase of an upstream's catalog reload.
    Phase of ReloadPhase {
        /// No reload is due.
        #[default]
        No = "no",
        /// A reload is due, and other replicas are first.
        Waiting = "waiting",
        /// A reload is due, but no other upstream could serve meanwhile.
        HeldBack = "held-back",
        /// Running requests finish before the reload.
        Draining = "draining",
        Reloading = "reloading",
        /// The canary request is drawn after the reload.
        Testing = "testing",
        /// The last reload failed; another is tried later.
        Failed = "failed",
    }
}

impl From<Mode> for cluster::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Ready => Self::Ready,
            Mode::Drain => Self::Drain,
            Mode::Maintenance => Self::Maintenance,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_words_of_log_and_metrics() {
        for mode in cluster::Mode::ALL {
            assert_eq!(Mode::from(mode).as_str(), mode.as_str());
            assert_eq!(cluster::Mode::from(Mode::from(mode)), mode);
        }
        for health in [HealthState::Unknown, HealthState::Up, HealthState::Down] {
            assert_eq!(Health::from(health).as_str(), health.as_str());
        }
        assert_eq!(
            serde_json::to_value(Phase::HeldBack).unwrap(),
            Phase::HeldBack.as_str()
        );
        assert_eq!(
            serde_json::from_str::<Role>("\"replica\"").unwrap(),
            Role::Replica
        );
    }
}
