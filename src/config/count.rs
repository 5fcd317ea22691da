//! A number or a word in its place: `16`, `"auto"`, `"off"`.

use toml::Spanned;
use toml::de::DeValue;

use super::diagnostics::{Problem, suggestion};
use super::value::{FromToml, Reading, Show};
use super::{MaxInFlight, PerUser};

/// The value as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    Auto,
    Off,
    Number(i64),
}

const WORDS: [&str; 2] = ["auto", "off"];

impl FromToml for Count {
    fn rule() -> &'static str {
        "a whole number, \"auto\" or \"off\""
    }

    fn from_toml(
        value: &Spanned<DeValue<'_>>,
        name: &str,
        reading: &mut Reading<'_>,
    ) -> Option<Self> {
        match value.get_ref().as_str() {
            Some("auto") => Some(Self::Auto),
            Some("off") => Some(Self::Off),
            Some(text) => {
                let problem = Problem::new(format!(
                    "`{name}` is \"{}\": must be {}",
                    text.escape_debug(),
                    Self::rule()
                ));
                let is_number = text.parse::<i64>().is_ok();
                let label = if is_number {
                    "without the quotes".to_owned()
                } else {
                    suggestion(text, WORDS)
                };
                reading.refuse(problem.at(reading.at(value)).label(label));
                None
            }
            None if value.get_ref().as_integer().is_none() => {
                reading.refuse_type::<Self>(name, value)
            }
            None => i64::from_toml(value, name, reading).map(Self::Number),
        }
    }
}

impl Show for Count {
    fn show(&self) -> String {
        match self {
            Self::Auto => "auto".to_owned(),
            Self::Off => "off".to_owned(),
            Self::Number(number) => number.to_string(),
        }
    }
}

impl From<MaxInFlight> for Count {
    fn from(cap: MaxInFlight) -> Self {
        match cap {
            MaxInFlight::Auto => Self::Auto,
            MaxInFlight::Off => Self::Off,
            MaxInFlight::Fixed(cap) => Self::Number(cap.into()),
        }
    }
}

impl From<PerUser> for Count {
    fn from(most: PerUser) -> Self {
        match most {
            PerUser::Auto => Self::Auto,
            PerUser::Off => Self::Off,
            PerUser::Fixed(most) => Self::Number(most.into()),
        }
    }
}
