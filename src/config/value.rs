//! Converts one TOML value into a type of geofront, with its place.
//!
//! A value that does not fit becomes a [`Problem`] and is dropped; reading continues with the next.

mod show;
mod texts;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::Share;
use super::diagnostics::Problem;
use super::source::{At, FileId, Sources};
pub(super) use show::Show;

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Written<T> {
    pub(super) value: T,
    pub(super) at: At,
}

/// The reading of one file: the current place and the problems so far.
pub(super) struct Reading<'s> {
    pub(super) sources: &'s Sources,
    pub(super) file: FileId,
    pub(super) problems: Vec<Problem>,
    /// Places to hide in messages.
    pub(super) secrets: Vec<At>,
}

impl Reading<'_> {
    pub(super) fn at<T>(&self, spanned: &Spanned<T>) -> At {
        self.file.at(spanned.span())
    }

    pub(super) fn refuse(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Reports that the value has another type; nothing was read.
    pub(super) fn refuse_type<T: FromToml>(
        &mut self,
        name: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<T> {
        let found = plain_type(value.get_ref());
        let problem = Problem::new(format!("`{name}` is {found}: must be {}", T::rule()));
        let problem = problem
            .at(self.at(value))
            .label(T::on_other_type(value.get_ref()));
        self.refuse(problem);
        None
    }
}

type Entry<'t, 'i> = (&'t Spanned<DeString<'i>>, &'t Spanned<DeValue<'i>>);

/// The entries in the order of the file: the library sorts by name.
pub(super) fn in_order<'t, 'i>(table: &'t DeTable<'i>) -> Vec<Entry<'t, 'i>> {
    let mut entries: Vec<Entry<'t, 'i>> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// The name of the type in plain words.
fn plain_type(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text in quotes",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A type that the value of a key can be read as.
pub(super) trait FromToml: Sized {
    /// Completes "must be".
    fn rule() -> &'static str;

    /// Reads the value; `None` after a problem was reported. `name` is the full name of the key,
    /// such as `health.interval`.
    fn from_toml(
        value: &Spanned<DeValue<'_>>,
        name: &str,
        reading: &mut Reading<'_>,
    ) -> Option<Self>;

    /// The hint for a value of another type.
    fn on_other_type(_value: &DeValue<'_>) -> String {
        String::new()
    }
}

/// A type that is written as text in quotes.
pub(super) trait FromText: Sized {
    /// Completes "must be".
    const RULE: &'static str;

    fn from_text(text: &str) -> Option<Self>;

    /// The hint for a text that does not fit.
    fn hint(_text: &str) -> String {
        String::new()
    }

    /// The hint for a number.
    fn on_number(number: &str) -> String {
        format!("put it in quotes: \"{number}\"")
    }
}

impl<T: FromText> FromToml for T {
    fn rule() -> &'static str {
        T::RULE
    }

    fn from_toml(
        value: &Spanned<DeValue<'_>>,
        name: &str,
        reading: &mut Reading<'_>,
    ) -> Option<Self> {
        let Some(text) = value.get_ref().as_str() else {
            return reading.refuse_type(name, value);
        };
        let read = Self::from_text(text);
        if read.is_none() {
            let problem = Problem::new(format!(
                "`{name}` is \"{}\": must be {}",
                text.escape_debug(),
                T::RULE
            ));
            let problem = problem.at(reading.at(value)).label(Self::hint(text));
            reading.refuse(problem);
        }
        read
    }

    fn on_other_type(value: &DeValue<'_>) -> String {
        value
            .as_integer()
            .map_or_else(String::new, |number| T::on_number(&number.to_string()))
    }
}

/// A whole number. Its range is checked by the caller.
impl FromToml for i64 {
    fn rule() -> &'static str {
        "a whole number"
    }

    fn from_toml(
        value: &Spanned<DeValue<'_>>,
        name: &str,
        reading: &mut Reading<'_>,
    ) -> Option<Self> {
        let Some(number) = value.get_ref().as_integer() else {
            return reading.refuse_type(name, value);
        };
        let read = Self::from_str_radix(number.as_str(), number.radix()).ok();
        if read.is_none() {
            reading.refuse(
                Problem::new(format!("`{name}` is {number}: that is too large"))
                    .at(reading.at(value)),
            );
        }
        read
    }

    fn on_other_type(value: &DeValue<'_>) -> String {
        let is_number = value
            .as_str()
            .is_some_and(|text| text.parse::<Self>().is_ok());
        if is_number {
            "without the quotes".to_owned()
        } else {
            String::new()
        }
    }
}

impl FromToml for bool {
    fn rule() -> &'static str {
        "true or false"
    }

    fn from_toml(
        value: &Spanned<DeValue<'_>>,
        name: &str,
        reading: &mut Reading<'_>,
    ) -> Option<Self> {
        let read = value.get_ref().as_bool();
        if read.is_none() {
            reading.refuse_type::<Self>(name, value);
        }
        read
    }

    fn on_other_type(value: &DeValue<'_>) -> String {
        let is_word = value
            .as_str()
            .is_some_and(|text| matches!(text, "true" | "false"));
        if is_word {
            "without the quotes".to_owned()
        } else {
            String::new()
        }
    }
}

/// A list; a single value needs no brackets.
impl<T: FromText> FromToml for Vec<Written<T>> {
    fn rule() -> &'static str {
        T::RULE
    }

    fn from_toml(
        value: &Spanned<DeValue<'_>>,
        name: &str,
        reading: &mut Reading<'_>,
    ) -> Option<Self> {
        let items = match value.get_ref() {
            DeValue::Array(items) => items,
            _ => std::slice::from_ref(value),
        };
        let read = |item| {
            T::from_toml(item, name, reading).map(|value| Written {
                value,
                at: reading.at(item),
            })
        };
        let read: Self = items.iter().filter_map(read).collect();
        // A list with a wrong value is dropped as a whole.
        (read.len() == items.len()).then_some(read)
    }
}

impl FromToml for Share {
    fn rule() -> &'static str {
        "a number from 0 to 1, such as 0.01"
    }

    fn from_toml(
        value: &Spanned<DeValue<'_>>,
        name: &str,
        reading: &mut Reading<'_>,
    ) -> Option<Self> {
        let text = match value.get_ref() {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            _ => return reading.refuse_type(name, value),
        };
        let read = text.parse().ok().and_then(Self::new);
        if read.is_none() {
            let title = format!("`{name}` is {text}: must be {}", Self::rule());
            reading.refuse(Problem::new(title).at(reading.at(value)));
        }
        read
    }

    fn on_other_type(value: &DeValue<'_>) -> String {
        let is_number = value
            .as_str()
            .is_some_and(|text| text.parse::<f64>().is_ok());
        if is_number {
            "without the quotes".to_owned()
        } else {
            String::new()
        }
    }
}

/// `{ name = "value", ... }`. Nothing of it is a secret.
#[derive(Clone, Debug, Default)]
pub(super) struct RawAttributes(pub(super) Vec<(Written<String>, Written<String>)>);

impl FromToml for RawAttributes {
    fn rule() -> &'static str {
        "a table of names and values, such as { \"deployment.environment.name\" = \"production\" }"
    }

    fn from_toml(
        value: &Spanned<DeValue<'_>>,
        name: &str,
        reading: &mut Reading<'_>,
    ) -> Option<Self> {
        let Some(table) = value.get_ref().as_table() else {
            return reading.refuse_type(name, value);
        };
        Some(Self(text_entries(table, name, reading)))
    }
}

/// `{ name = "value", ... }`. The values are secrets.
pub(super) type RawHeaders = Vec<(Written<String>, Written<String>)>;

impl FromToml for RawHeaders {
    fn rule() -> &'static str {
        "a table of names and values, such as { sec-username = \"probe\" }"
    }

    fn from_toml(
        value: &Spanned<DeValue<'_>>,
        name: &str,
        reading: &mut Reading<'_>,
    ) -> Option<Self> {
        let Some(table) = value.get_ref().as_table() else {
            reading.secrets.push(reading.at(value));
            return reading.refuse_type(name, value);
        };
        let values = table.values();
        reading
            .secrets
            .extend(values.map(|value| reading.file.at(value.span())));
        let headers = text_entries(table, name, reading);
        // A probe that lacks one of its headers would be a different probe.
        (headers.len() == table.len()).then_some(headers)
    }
}

/// Reads the entries whose values are texts, in the order of the file, and reports the others.
fn text_entries(
    table: &DeTable<'_>,
    name: &str,
    reading: &mut Reading<'_>,
) -> Vec<(Written<String>, Written<String>)> {
    let entries = in_order(table).into_iter();
    entries
        .filter_map(|(key, value)| text_entry(key, value, name, reading))
        .collect()
}

fn text_entry(
    key: &Spanned<DeString<'_>>,
    value: &Spanned<DeValue<'_>>,
    name: &str,
    reading: &mut Reading<'_>,
) -> Option<(Written<String>, Written<String>)> {
    let Some(text) = value.get_ref().as_str() else {
        reading.refuse(
            Problem::new(format!(
                "`{name}.{}` must be {}",
                key.get_ref(),
                String::RULE
            ))
            .at(reading.at(value)),
        );
        return None;
    };
    let key = Written {
        value: key.get_ref().to_string(),
        at: reading.at(key),
    };
    Some((
        key,
        Written {
            value: text.to_owned(),
            at: reading.at(value),
        },
    ))
}
