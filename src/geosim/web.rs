//! The web interface, as far as a front door notices it: sessions with stateful pages, the login
//! form, the CSRF filter, the wait for a reload; and the static files.

use tokio::time::timeout;

use super::answer::Answer;
use super::data_directory::Write;
use super::kvp::Kvp;
use super::life::Life;
use super::ows::on_this_host;
use super::request::Request;

const HTML: &str = "text/html;charset=UTF-8";
const COOKIE: &str = "JSESSIONID";

/// A page of the interface. The home page is shown in any case; all others, and what is done on it,
/// wait for the configuration lock, and show the busy page when they waited in vain.
pub(super) async fn answer(life: &Life, request: &Request, page: &str) -> Answer {
    if page == "/gwc/demo" {
        return Answer::ok(HTML, "<html><body><h1>GeoWebCache demo</h1></body></html>");
    }
    if request.method() == "POST" && !is_same_origin(request) {
        return Answer::container_page(403, "Origin does not correspond to request");
    }
    let shows_home = page == "/" && request.method() != "POST";
    let waited = if shows_home {
        None
    } else {
        Some(timeout(life.behaviour.ui_lock_wait, life.configuration_lock.read()).await)
    };
    if let Some(Err(_)) = waited {
        return Answer::ok(
            HTML,
            "<html><body><h1>GeoServer is busy</h1><p>The configuration is being reloaded.</p></body></html>",
        );
    }
    session_page(life, request, page)
}

/// `Origin`, or else `Referer`, must name the host of the request, or both must be absent.
fn is_same_origin(request: &Request) -> bool {
    let Some(origin) = request
        .header("origin")
        .or_else(|| request.header("referer"))
    else {
        return true;
    };
    let host = origin
        .split("://")
        .nth(1)
        .and_then(|rest| rest.split('/').next());
    host.is_some() && host == request.header("host")
}

/// Wicket: every page belongs to a session and has a number in it; a page of another session is an
/// expired one.
fn session_page(life: &Life, request: &Request, page: &str) -> Answer {
    let known = session_of(request).filter(|id| life.sessions.knows(id));
    let Some(session) = known else {
        return to_new_session(life, request);
    };
    let requested = std::str::from_utf8(request.query())
        .unwrap_or_default()
        .split(['-', '&'])
        .next()
        .and_then(|n| n.parse().ok());
    match requested {
        Some(number) if !life.sessions.has_page(session, number) => {
            Answer::redirect(on_this_host(request, "/geoserver/web/?expired"))
        }
        Some(_) if request.method() == "POST" => {
            life.data.note_write(Write {
                by: life.name.clone(),
                what: format!("POST /web{page}"),
                tag: None,
                body: request.body().hash,
            });
            Answer::redirect(on_this_host(request, "/geoserver/web/"))
        }
        Some(number) => page_number(life, number),
        None => {
            let number = life.sessions.next_page(session).unwrap_or(0);
            Answer::redirect(on_this_host(request, &format!("/geoserver/web/?{number}")))
        }
    }
}

fn page_number(life: &Life, number: u32) -> Answer {
    let name = &life.name;
    let title = format!("GeoServer: Welcome (page {number} on {name})");
    Answer::ok(HTML, format!("<html><head><title>{title}</title></head><body><h1>{title}</h1><form method=\"post\" action=\"?{number}-1.-form\"/></body></html>"))
        .with("X-Frame-Options", "SAMEORIGIN")
}

fn to_new_session(life: &Life, request: &Request) -> Answer {
    let session = life.sessions.open(life.controls.dice.draw());
    let number = life.sessions.next_page(&session).unwrap_or(0);
    Answer::redirect(on_this_host(request, &format!("/geoserver/web/?{number}")))
        .with("Set-Cookie", cookie(&session))
}

fn cookie(session: &str) -> String {
    format!("{COOKIE}={session}; Path=/geoserver; HttpOnly")
}

fn session_of(request: &Request) -> Option<&str> {
    request.header("cookie")?.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    })
}

/// The login form.
pub(super) fn login(life: &Life, request: &Request) -> Answer {
    let form = Kvp::new(b"", &request.body().start);
    if request.method() == "POST"
        && form.is("username", super::auth::USER)
        && form.is("password", super::auth::PASSWORD)
    {
        let session = life.sessions.open(life.controls.dice.draw());
        return Answer::redirect(on_this_host(request, "/geoserver/web/"))
            .with("Set-Cookie", cookie(&session));
    }
    Answer::redirect(on_this_host(request, "/geoserver/web/?error=true"))
}

pub(super) fn logout(request: &Request) -> Answer {
    Answer::redirect(on_this_host(request, "/geoserver/web/")).with(
        "Set-Cookie",
        format!("{COOKIE}=; Path=/geoserver; Max-Age=0"),
    )
}

/// Files that come with the webapp. A name with `missing` in it is not there.
pub(super) fn file(request: &Request, path: &str) -> Answer {
    if !matches!(request.method(), "GET" | "HEAD") {
        return Answer::container_page(405, "Method Not Allowed");
    }
    if path.contains("missing") {
        return Answer::not_found();
    }
    let (kind, body) = match path.rsplit('.').next() {
        Some("js") => ("application/javascript", "// GeoServer\n"),
        Some("xml" | "xsd") => ("application/xml", "<?xml version=\"1.0\"?><schema/>\n"),
        _ => ("text/css", "body { margin: 0 }\n"),
    };
    Answer::ok(kind, body).with("Cache-Control", "max-age=86400")
}

/// CORS, as the servlet filter of geOrchestra's `web.xml` answers it.
pub(super) fn preflight() -> Answer {
    Answer::empty(200)
        .with("Allow", "GET, HEAD, POST, PUT, DELETE, OPTIONS")
        .with("Access-Control-Allow-Origin", "*")
        .with(
            "Access-Control-Allow-Methods",
            "GET,POST,PUT,DELETE,HEAD,OPTIONS",
        )
}
