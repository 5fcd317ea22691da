//! Sessions of a replica that an administrator names (`named_upstream`): they are kept beside that
//! of the main.

use http::header::{COOKIE, SET_COOKIE};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};

use crate::config::UpstreamName;

/// The session cookie of GeoServer's web interface.
const SESSION: &str = "JSESSIONID";

/// The name of a replica's session cookie at the client, where the main's has its own.
fn session_of(upstream: &UpstreamName) -> String {
    format!("GEOFRONT_{upstream}_{SESSION}")
}

/// The replica gets its own session, and not the main's.
pub(super) fn give_session(request: &mut RequestHeader, upstream: &UpstreamName) -> Result<()> {
    let own = session_of(upstream);
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for line in request.headers.get_all(COOKIE) {
        for pair in line.as_bytes().split(|byte| *byte == b';') {
            let pair = pair.trim_ascii();
            let at = pair.iter().position(|byte| *byte == b'=');
            let (name, value) = pair.split_at(at.unwrap_or(pair.len()));
            if name == own.as_bytes() {
                kept.push([SESSION.as_bytes(), value].concat());
            } else if name != SESSION.as_bytes() && !pair.is_empty() {
                kept.push(pair.to_vec());
            }
        }
    }
    request.remove_header(&COOKIE);
    if kept.is_empty() {
        return Ok(());
    }
    request.insert_header(COOKIE, kept.join(&b"; "[..]))
}

/// The replica's session is kept beside the main's.
pub(super) fn keep_session(response: &mut ResponseHeader, upstream: &UpstreamName) -> Result<()> {
    let lines: Vec<Vec<u8>> = (response.headers.get_all(SET_COOKIE).iter())
        .map(|line| line.as_bytes().to_vec())
        .collect();
    response.remove_header(&SET_COOKIE);
    for line in lines {
        let renamed = line
            .strip_prefix(SESSION.as_bytes())
            .filter(|rest| rest.first() == Some(&b'='))
            .map(|rest| [session_of(upstream).as_bytes(), rest].concat());
        response.append_header(SET_COOKIE, renamed.unwrap_or(line))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica() -> UpstreamName {
        UpstreamName::new("replica1").expect("a name")
    }

    #[test]
    fn a_replica_gets_its_own_session_and_never_that_of_the_main() {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        let cookies = "a=1; JSESSIONID=main; GEOFRONT_replica1_JSESSIONID=own; GEOFRONT_replica2_JSESSIONID=other";
        request.insert_header(COOKIE, cookies).unwrap();
        give_session(&mut request, &replica()).unwrap();
        assert_eq!(
            request.headers[COOKIE],
            "a=1; JSESSIONID=own; GEOFRONT_replica2_JSESSIONID=other"
        );
        request.insert_header(COOKIE, "JSESSIONID=main").unwrap();
        give_session(&mut request, &replica()).unwrap();
        assert!(!request.headers.contains_key(COOKIE));
    }

    #[test]
    fn a_session_of_a_replica_does_not_replace_the_session_of_the_main() {
        let mut response = ResponseHeader::build(200, None).unwrap();
        response
            .append_header(SET_COOKIE, "JSESSIONID=x; Path=/geoserver")
            .unwrap();
        response.append_header(SET_COOKIE, "JSESSIONIDS=y").unwrap();
        keep_session(&mut response, &replica()).unwrap();
        let lines: Vec<_> = response.headers.get_all(SET_COOKIE).iter().collect();
        assert_eq!(
            lines,
            [
                "GEOFRONT_replica1_JSESSIONID=x; Path=/geoserver",
                "JSESSIONIDS=y"
            ]
        );
    }
}
