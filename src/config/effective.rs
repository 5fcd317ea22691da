//! Every key as it is in force.

/// One key, what it is, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// `health.interval`, `upstreams.slave1.weight`.
    pub key: String,
    /// As it could be written in the file, without quotes; secrets are masked; empty for none.
    pub value: String,
    /// `file:line`, or `default`, or what it was derived from.
    pub origin: String,
}
