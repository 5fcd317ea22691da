//! How many retries the last ten seconds allow.
