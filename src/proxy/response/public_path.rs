//! The addresses in an answer's head where GeoServer's context has another public path.

use http::header::{CONTENT_LOCATION, HOST, HeaderValue, LOCATION, SET_COOKIE};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};

use crate::config::{PublicPath, PublicUrl};

/// The hosts under which clients know the front door.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct PublicHosts<'a> {
    pub(in crate::proxy) request: &'a RequestHeader,
    /// The peer may state the host of the request.
    pub(in crate::proxy) trusts_origin: bool,
    pub(in crate::proxy) public_url: Option<&'a PublicUrl>,
}

impl PublicHosts<'_> {
    fn contain(self, authority: &[u8]) -> bool {
        let headers = &self.request.headers;
        let stated = headers
            .get("x-forwarded-host")
            .filter(|_| self.trusts_origin);
        let stated = stated.and_then(|line| line.as_bytes().split(|byte| *byte == b',').next());
        let host = headers.get(HOST).map(HeaderValue::as_bytes);
        let public = self.public_url.map(|url| url.authority.as_bytes());
        [stated, host, public]
            .into_iter()
            .flatten()
            .any(|known| known.trim_ascii().eq_ignore_ascii_case(authority))
    }
}

/// Makes addresses and the paths of cookies public.
pub(in crate::proxy) fn mend(
    response: &mut ResponseHeader,
    path: &PublicPath,
    hosts: PublicHosts<'_>,
) -> Result<()> {
    for name in [LOCATION, CONTENT_LOCATION] {
        let address = response.headers.get(&name);
        let public = address.and_then(|address| public_address(address.as_bytes(), path, hosts));
        if let Some(public) = public {
            response.insert_header(name, public)?;
        }
    }
    let cookies = response.headers.get_all(SET_COOKIE).iter();
    let cookies: Vec<HeaderValue> = cookies.cloned().collect();
    let public: Vec<Option<Vec<u8>>> = cookies
        .iter()
        .map(|cookie| public_cookie(cookie.as_bytes(), path))
        .collect();
    if public.iter().any(Option::is_some) {
        response.remove_header(&SET_COOKIE);
        for (cookie, public) in cookies.into_iter().zip(public) {
            let public = public.and_then(|bytes| HeaderValue::from_bytes(&bytes).ok());
            response.append_header(SET_COOKIE, public.unwrap_or(cookie))?;
        }
    }
    Ok(())
}

/// The address with its path made public; `None` if it needs no change, or leads elsewhere.
fn public_address(address: &[u8], path: &PublicPath, hosts: PublicHosts<'_>) -> Option<Vec<u8>> {
    if address.starts_with(b"/") && !address.starts_with(b"//") {
        return path.to_client(address);
    }
    let colon = address.windows(3).position(|window| window == b"://")?;
    let is_web = [&b"http"[..], b"https"]
        .iter()
        .any(|scheme| scheme.eq_ignore_ascii_case(&address[..colon]));
    let (origin, rest) = address.split_at(colon + 3);
    let end = rest.iter().position(|byte| b"/?#".contains(byte))?;
    let (authority, target) = rest.split_at(end);
    if !is_web || !hosts.contain(authority) {
        return None;
    }
    Some([origin, authority, &path.to_client(target)?].concat())
}

/// The cookie with its path made public; `None` if it needs no change.
fn public_cookie(cookie: &[u8], path: &PublicPath) -> Option<Vec<u8>> {
    let mut is_changed = false;
    let attributes: Vec<Vec<u8>> = cookie
        .split(|byte| *byte == b';')
        .enumerate()
        .map(|(at, attribute)| {
            let public = (at > 0)
                .then(|| public_attribute(attribute, path))
                .flatten();
            is_changed |= public.is_some();
            public.unwrap_or_else(|| attribute.to_vec())
        })
        .collect();
    is_changed.then(|| attributes.join(&b';'))
}

/// ` Path=/geoserver` with the public path.
fn public_attribute(attribute: &[u8], path: &PublicPath) -> Option<Vec<u8>> {
    let equals = attribute.iter().position(|byte| *byte == b'=')?;
    let (name, value) = attribute.split_at(equals + 1);
    let is_path = name[..equals].trim_ascii().eq_ignore_ascii_case(b"path");
    let public = path.to_client(value.trim_ascii()).filter(|_| is_path)?;
    Some([name, &public].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(name: &'static str, values: &[&str], path: &PublicPath) -> Vec<String> {
        let mut request = RequestHeader::build("GET", b"/geoserver/web", None).unwrap();
        request.append_header("Host", "maps.example.org").unwrap();
        request
            .append_header("X-Forwarded-Host", "www.example.org, a")
            .unwrap();
        let mut response = ResponseHeader::build(302, None).unwrap();
        for value in values {
            response.append_header(name, *value).unwrap();
        }
        let hosts = PublicHosts {
            request: &request,
            trusts_origin: true,
            public_url: None,
        };
        mend(&mut response, path, hosts).unwrap();
        let lines = response.headers.get_all(name).iter();
        lines
            .map(|line| line.to_str().unwrap().to_owned())
            .collect()
    }

    fn path() -> PublicPath {
        PublicPath::new("/maps/geoserver", "/geoserver").unwrap()
    }

    #[test]
    fn redirects_below_the_context_lead_to_the_public_path() {
        for (location, public) in [
            ("/geoserver/web/?1", "/maps/geoserver/web/?1"),
            (
                "http://maps.example.org/geoserver/web",
                "http://maps.example.org/maps/geoserver/web",
            ),
            (
                "HTTPS://WWW.example.org/geoserver",
                "HTTPS://WWW.example.org/maps/geoserver",
            ),
            (
                "http://maps.example.org/maps/geoserver/web",
                "http://maps.example.org/maps/geoserver/web",
            ),
            (
                "https://cas.example.org/geoserver/login",
                "https://cas.example.org/geoserver/login",
            ),
            (
                "//maps.example.org/geoserver",
                "//maps.example.org/geoserver",
            ),
            ("web/wicket?3", "web/wicket?3"),
            ("/geoservers", "/geoservers"),
            ("http://maps.example.org", "http://maps.example.org"),
        ] {
            for name in ["Location", "Content-Location"] {
                assert_eq!(mended(name, &[location], &path()), [public]);
            }
        }
    }

    #[test]
    fn the_paths_of_cookies_become_public() {
        let cookies = [
            "JSESSIONID=/geoserver; Path=/geoserver; HttpOnly",
            "a=b; path=/geoserver/web",
            "c=d; Path=/",
            "e=f",
        ];
        assert_eq!(
            mended("Set-Cookie", &cookies, &path()),
            [
                "JSESSIONID=/geoserver; Path=/maps/geoserver; HttpOnly",
                "a=b; path=/maps/geoserver/web",
                "c=d; Path=/",
                "e=f",
            ]
        );
        let at_root = PublicPath::new("/maps", "").unwrap();
        let root = mended("Set-Cookie", &["JSESSIONID=1; Path=/"], &at_root);
        assert_eq!(root, ["JSESSIONID=1; Path=/maps/"]);
    }
}
