//! Numbers, times and addresses as text, written digit by digit: a line has a dozen of them, and
//! the standard library's formatting is made for more than that.

use std::cell::Cell;
use std::io::Write;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use crate::unix_time::{rfc3339, since_1970};

/// In decimal.
pub(super) fn write(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// A duration as milliseconds with three decimals.
pub(super) fn write_millis(value: Duration, out: &mut Vec<u8>) {
    // Half a million years.
    let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
    write(micros / 1000, out);
    out.push(b'.');
    write_three((micros % 1000) as u32, out);
}

/// With its leading zeros; below 1000.
fn write_three(value: u32, out: &mut Vec<u8>) {
    let digit = |divisor: u32| b'0' + (value / divisor % 10) as u8;
    out.extend_from_slice(&[digit(100), digit(10), digit(1)]);
}

/// `2026-11-18T11:06:40`.
const TO_THE_SECOND: usize = 19;

/// A time as RFC 3339 has it, in UTC, with milliseconds. The part that changes once a second is
/// kept from line to line.
pub(super) fn write_time(time: SystemTime, out: &mut Vec<u8>) {
    thread_local! {
        static LAST: Cell<(u64, [u8; TO_THE_SECOND])> =
            const { Cell::new((u64::MAX, [0; TO_THE_SECOND])) };
    }
    // Nothing arrived before 1970, nor after the year 9999, where the format ends.
    let since = since_1970(time);
    let (mut second, mut text) = LAST.get();
    if second != since.as_secs() {
        second = since.as_secs();
        text = to_the_second(second);
        LAST.set((second, text));
    }
    out.extend_from_slice(&text);
    out.push(b'.');
    write_three(since.subsec_millis(), out);
    out.push(b'Z');
}

fn to_the_second(seconds: u64) -> [u8; TO_THE_SECOND] {
    let text = rfc3339(seconds);
    let text = text
        .as_bytes()
        .first_chunk()
        .expect("a date of four-digit years has 19 letters to the second");
    *text
}

pub(super) fn write_address(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => {
            for (at, octet) in address.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                write(octet.into(), out);
            }
        }
        IpAddr::V6(address) => write!(out, "{address}").expect("memory takes every write"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_largest_and_the_smallest_have_all_their_digits() {
        assert_eq!(text(|out| write(0, out)), "0");
        assert_eq!(text(|out| write(u64::MAX, out)), u64::MAX.to_string());
        assert_eq!(
            text(|out| write_millis(Duration::from_micros(1_000_007), out)),
            "1000.007"
        );
    }

    #[test]
    fn a_time_outside_the_range_of_the_format_causes_no_panic() {
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(u32::MAX) * 100);
        assert_eq!(text(|out| write_time(far, out)), "9999-12-31T23:59:59.000Z");
        let early = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(
            text(|out| write_time(early, out)),
            "1970-01-01T00:00:00.000Z"
        );
    }

    proptest! {
        #[test]
        fn everything_reads_as_the_standard_formatting_writes_it(
            number in any::<u64>(),
            micros in 0..u64::from(u32::MAX),
            millis in 0..4_102_444_800_000_u64,
            address in any::<IpAddr>(),
        ) {
            prop_assert_eq!(text(|out| write(number, out)), number.to_string());
            let expected = format!("{}.{:03}", micros / 1000, micros % 1000);
            prop_assert_eq!(text(|out| write_millis(Duration::from_micros(micros), out)), expected);
            let time = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
            let expected = humantime::format_rfc3339_millis(time).to_string();
            prop_assert_eq!(text(|out| write_time(time, out)), expected.clone());
            prop_assert_eq!(text(|out| write_time(time, out)), expected, "again, from what was kept");
            prop_assert_eq!(text(|out| write_address(address, out)), address.to_string());
        }
    }
}
