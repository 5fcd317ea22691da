//! Parsing a head allocates nothing.

use allocation_counter::measure;
use geofront::http1::{BodyScanner, HeadLimits, HeadProgress, HeadReader};

const LIMITS: HeadLimits = HeadLimits {
    max_bytes: 65_536,
    max_fields: 200,
};

#[test]
fn a_request_is_judged_without_an_allocation_whole_or_in_pieces() {
    let request = "POST http://maps.example.org/geoserver/wfs?service=WFS HTTP/1.1\r\nHost: maps.example.org\r\n\
                   Connection: keep-alive, x\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nX: y\r\n\r\n";
    for piece in [1, 10, request.len()] {
        let mut body = None;
        let counted = measure(|| {
            let mut reader = HeadReader::default();
            for end in (piece..=request.len()).step_by(piece) {
                if let HeadProgress::Complete(head) =
                    reader.read(&request.as_bytes()[..end], &LIMITS)
                {
                    let mut reader = BodyScanner::new(head.framing);
                    body = Some((
                        reader.take(&request.as_bytes()[head.whole.end..]),
                        reader.is_complete(),
                    ));
                    break;
                }
            }
        });
        assert_eq!(counted.count_total, 0);
        assert!(matches!(body, Some((Ok(_), true))), "{body:?}");
    }
}
