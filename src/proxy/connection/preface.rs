//! Whether a connection without TLS is one of HTTP/2: then its first bytes are the connection
//! preface, which no request of HTTP/1 begins with (RFC 9113 section 3.4).

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The first bytes of a connection of HTTP/2.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The beginning of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Beginning {
    pub(super) is_http2: bool,
    /// The bytes that were read, at most a preface. They are still to be handled.
    pub(super) ahead: BytesMut,
}

/// Reads until it is known which protocol the client speaks. A client of HTTP/1 does not wait for
/// more than its first bytes. `None` if the connection ends before that.
pub(super) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Beginning> {
    let mut ahead = BytesMut::with_capacity(PREFACE.len());
    while PREFACE.starts_with(&ahead) {
        if ahead.len() == PREFACE.len() {
            return Some(Beginning {
                is_http2: true,
                ahead,
            });
        }
        let missing = (PREFACE.len() - ahead.len()) as u64;
        match (&mut *stream).take(missing).read_buf(&mut ahead).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return None,
        }
    }
    Some(Beginning {
        is_http2: false,
        ahead,
    })
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn beginning(pieces: &[&[u8]]) -> Option<(bool, Vec<u8>)> {
        let (mut client, mut ours) = tokio::io::duplex(1_000);
        let send = async {
            for piece in pieces {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(client);
        };
        let (read, ()) = tokio::join!(read(&mut ours), send);
        read.map(|read| (read.is_http2, read.ahead.to_vec()))
    }

    #[tokio::test]
    async fn a_preface_is_found_in_any_pieces_and_nothing_behind_it_is_read() {
        let whole = [&PREFACE[..], b"\0\0\0\x04"].concat();
        for at in 1..PREFACE.len() {
            let (first, rest) = whole.split_at(at);
            let expected = Some((true, PREFACE.to_vec()));
            assert_eq!(beginning(&[first, rest]).await, expected, "{at}");
        }
    }

    #[tokio::test]
    async fn a_request_that_begins_like_a_preface_is_one_of_http1() {
        let found = beginning(&[b"PR", b"OPFIND / HTTP/1.1\r\n"]).await;
        let (is_http2, ahead) = found.unwrap();
        assert!(!is_http2 && ahead.starts_with(b"PROPFIND /"));
        assert_eq!(beginning(&[b"PRI * HT"]).await, None);
    }

    #[tokio::test]
    async fn a_short_request_is_not_kept_waiting() {
        let (mut client, mut ours) = tokio::io::duplex(1_000);
        client.write_all(b"GET ").await.unwrap();
        let found = read(&mut ours).now_or_never().unwrap().unwrap();
        assert_eq!((found.is_http2, &found.ahead[..]), (false, &b"GET "[..]));
    }
}
