//! Durations for people.

/// The two largest units of a duration.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        86_400.. => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// The length of a wait; short ones with tenths of a second.
pub(super) fn took(milliseconds: u64) -> String {
    match milliseconds {
        0..60_000 => format!("{:.1} s", milliseconds as f64 / 1000.0),
        60_000.. => span(milliseconds / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_their_two_largest_units() {
        assert_eq!(
            [0, 59, 60, 3599, 3660, 90_000].map(span),
            ["0 s", "59 s", "1 min", "59 min", "1 h 1 min", "1 d 1 h"]
        );
    }

    #[test]
    fn short_waits_are_shown_with_tenths() {
        assert_eq!(
            [0, 3249, 59_900, 61_000].map(took),
            ["0.0 s", "3.2 s", "59.9 s", "1 min"]
        );
    }
}
