//! `[clients]`: the limits on slow clients and on many connections of one address.

/// The table `[clients]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// Bytes of one request body that are read before a slot is requested; 0 for none.
    pub body_memory: usize,
    /// Bytes that all such bodies together may hold.
    pub all_body_memory: usize,
    /// Bytes a second that a client must send of a body; 0 for no limit.
    pub min_upload_rate: u64,
    /// Bytes of one answer that are held in memory for a client that reads slowly. While memory is
    /// free, more of them are held.
    pub answer_memory: usize,
    /// Bytes that all such answers together may hold.
    pub all_answer_memory: usize,
    /// Bytes a second that a client must read while it holds a slot, or while memory is short; 0
    /// for no limit.
    pub min_download_rate: u64,
    /// Connections of one address, or of one IPv6 /64; 0 for no limit.
    pub max_per_address: u32,
    /// Connections that one address may open a second, for long; 0 for no limit.
    pub new_per_second: u32,
    /// Request heads of one address that have begun and are not complete; 0 for no limit.
    pub heads_per_address: u32,
}
