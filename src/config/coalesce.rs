//! Request coalescing: which requests may share an answer.

use toml::Spanned;
use toml::de::DeValue;

use super::diagnostics::{Problem, suggestion};
use super::value::{FromToml, Reading, Show};

/// Whether a request that is identical to a running one gets the running one's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coalesce {
    /// Every request gets its own answer.
    Off,
    /// Requests from the same client address share an answer.
    SameAddress,
    /// Requests from any address share an answer.
    AnyAddress,
}

const ANY_ADDRESS: &str = "any-address";

impl FromToml for Coalesce {
    fn rule() -> &'static str {
        "true, false or \"any-address\""
    }

    fn from_toml(
        value: &Spanned<DeValue<'_>>,
        name: &str,
        reading: &mut Reading<'_>,
    ) -> Option<Self> {
        match value.get_ref() {
            DeValue::Boolean(true) => Some(Self::SameAddress),
            DeValue::Boolean(false) => Some(Self::Off),
            DeValue::String(text) if text == ANY_ADDRESS => Some(Self::AnyAddress),
            other => {
                let found = other
                    .as_str()
                    .map(|text| format!("\"{}\"", text.escape_debug()));
                let found = found.unwrap_or_else(|| "something else".to_owned());
                let hint = match other.as_str() {
                    Some("true" | "false") => "without the quotes".to_owned(),
                    Some(text) => suggestion(text, [ANY_ADDRESS]),
                    None => String::new(),
                };
                let problem =
                    Problem::new(format!("`{name}` is {found}: must be {}", Self::rule()));
                reading.refuse(problem.at(reading.at(value)).label(hint));
                None
            }
        }
    }
}

impl Show for Coalesce {
    fn show(&self) -> String {
        match self {
            Self::Off => "false".to_owned(),
            Self::SameAddress => "true".to_owned(),
            Self::AnyAddress => ANY_ADDRESS.to_owned(),
        }
    }
}
