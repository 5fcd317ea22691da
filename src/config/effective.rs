//! Every key as it is in force.

/// The origin of a value that no file mentions.
pub(super) const DEFAULT: &str = "default";

/// One key, its value, and the origin of the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The full name, such as `health.interval` or `upstreams.slave1.weight`.
    pub key: String,
    /// The value as in the file, without quotes; masked for secrets, empty for none.
    pub value: String,
    /// `file:line`, `default`, or the source it was derived from.
    pub origin: String,
}

impl Effective {
    /// True if a file states the value: its origin is `file:line`.
    pub(super) fn is_written(&self) -> bool {
        let line = self.origin.rsplit_once(':').map(|(_, line)| line);
        self.origin != DEFAULT && line.is_some_and(|line| line.parse::<u32>().is_ok())
    }
}
