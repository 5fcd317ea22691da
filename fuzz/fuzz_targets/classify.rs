//! Classifies any bytes as a request. The harness, which `tests/ogc_fuzz.rs` shares, checks the
//! invariants.

#![no_main]

#[path = "../../tests/ogc_shared/harness.rs"]
mod harness;
#[path = "../../tests/ogc_shared/oracle/mod.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|input: &[u8]| harness::check_input(input));
