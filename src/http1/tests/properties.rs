//! Both readers agree, whatever the bytes are and however they arrive.

use proptest::prelude::*;

use super::{LIMITS, body_of, naive, read, read_in_pieces};
use crate::http1::{BodyScanner, Framing, Head, HeadProgress, HeadReader};

/// Pieces of valid and invalid requests; a request is a sequence of them.
const PIECES: &[&[u8]] = &[
    b"GET ",
    b"POST ",
    b"OPTIONS ",
    b"CONNECT ",
    b"TRACE ",
    b"/",
    b"/x?y=z",
    b"*",
    b"http://a",
    b"https://a:443/x",
    b"http://a?b",
    b" HTTP/1.1\r\n",
    b" HTTP/1.0\r\n",
    b" HTTP/1.2\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b":",
    b",",
    b"#",
    b"\0",
    b"\xc3\xa9",
    b"|",
    b"Host: a\r\n",
    b"Host: A:80\r\n",
    b"Host: a:443\r\n",
    b"Host: b\r\n",
    b"host:",
    b"Host : a\r\n",
    b"[::1]",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"content-length:+5\r\n",
    b"Content-Length: 5, 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"transfer-encoding:\tCHUNKED \r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Connection: close, X\r\n",
    b"Connection: a b\r\n",
    b"Expect: 100-continue\r\n",
    b"X: y\r\n",
    b"X:\r\n",
    b" folded\r\n",
];

/// A valid request in which pieces are replaced, left out and added.
fn head() -> impl Strategy<Value = Vec<u8>> {
    const GOOD: &[&[u8]] = &[
        b"GET ",
        b"/x?y=z",
        b" HTTP/1.1\r\n",
        b"Host: a\r\n",
        b"X: y\r\n",
        b"\r\n",
    ];
    let piece = || prop::sample::select(PIECES).prop_map(<[u8]>::to_vec);
    let change = (
        0..=GOOD.len(),
        0..3_usize,
        prop::collection::vec(piece(), 0..3),
    );
    prop::collection::vec(change, 0..4).prop_map(|changes| {
        let mut pieces: Vec<Vec<u8>> = GOOD.iter().map(|piece| piece.to_vec()).collect();
        for (at, removed, added) in changes {
            let at = at.min(pieces.len());
            let end = pieces.len().min(at + removed);
            pieces.splice(at..end, added);
        }
        pieces.concat()
    })
}

fn chunks() -> impl Strategy<Value = Vec<u8>> {
    const CHUNKS: &[&[u8]] = &[
        b"5\r\nhello\r\n",
        b"0\r\n",
        b"\r\n",
        b"A;x=y\r\n0123456789\r\n",
        b"1 \r\na\r\n",
        b"0\r\n\r\n",
        b";",
        b"\n",
        b"X: y\r\n",
        b"f",
        b"\r",
        b"3\r\n\r\n0\r\n",
        b"00\r\n",
        b"GET / HTTP/1.1\r\n",
    ];
    prop::collection::vec(prop::sample::select(CHUNKS), 0..7).prop_map(|pieces| pieces.concat())
}

fn understood(head: &Head, bytes: &[u8]) -> naive::Naive {
    naive::Naive {
        head_length: head.whole.end,
        method: head.method.of(bytes).to_vec(),
        target: head.target.of(bytes).to_vec(),
        host: head.host.map(|host| host.of(bytes).to_vec()),
        length: match head.framing {
            Framing::Length(length) => Some(length),
            Framing::Chunked => None,
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn two_readers_understand_the_same_heads_in_the_same_way(bytes in head()) {
        let ours = match read(&bytes) {
            HeadProgress::Complete(head) => Some(understood(&head, &bytes)),
            HeadProgress::More | HeadProgress::Refused(_) => None,
        };
        prop_assert_eq!(ours, naive::head(&bytes), "{}", bytes.escape_ascii());
    }

    #[test]
    fn it_does_not_matter_in_which_pieces_a_head_comes(bytes in head(), piece in 1..9_usize) {
        let whole = read(&bytes);
        // In pieces, a fault may be seen before the end that would make another fault of it; never
        // the other way round.
        match (read_in_pieces(&bytes, piece), whole) {
            (HeadProgress::Refused(_), HeadProgress::Refused(_)) => {}
            (in_pieces, whole) => prop_assert_eq!(in_pieces, whole, "{}", bytes.escape_ascii()),
        }
    }

    #[test]
    fn two_readers_find_the_same_end_of_a_chunked_body(bytes in chunks(), piece in 1..9_usize) {
        let head = Head { framing: Framing::Chunked, ..Head::default() };
        let ours = body_of(&head, &bytes, piece).ok().flatten();
        prop_assert_eq!(ours, naive::chunked_length(&bytes), "{}", bytes.escape_ascii());
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut reader = HeadReader::default();
        let reading = reader.read(&bytes, &LIMITS);
        reader.request_line(&bytes);
        prop_assert!(reading != HeadProgress::More || bytes.len() <= LIMITS.max_bytes + 2);
        let taken = BodyScanner::new(Framing::Chunked).take(&bytes);
        prop_assert!(taken.is_ok_and(|taken| taken <= bytes.len()) || taken.is_err());
    }
}
