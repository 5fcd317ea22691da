//! Every key as it is in force.

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
