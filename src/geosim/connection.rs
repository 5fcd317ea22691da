//! One connection: requests in, answers out, and the faults between them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::answer::{Answer, Body};
use super::dispatch::{Part, Route, route};
use super::door::{Activity, Guest};
use super::exception::{Dialect, ServiceException};
use super::fault::{Fault, When};
use super::life::{Life, TAG};
use super::ows::BUSY;
use super::path::normalise;
use super::request::{Request, RequestBody};
use super::service;
use super::socket::Socket;
use super::wire::{Ending, Manner, NoRequest, Wire};
use crate::ogc::RequestClass;

/// Serves one connection to its end.
pub(super) async fn serve(stream: TcpStream, guest: Guest, life: Arc<Life>) {
    life.controls
        .counts
        .connections
        .fetch_add(1, Ordering::Relaxed);
    // Without it small answers wait for the peer's delayed acknowledgement. A socket that is gone
    // reports that when read.
    stream.set_nodelay(true).ok();
    let Some(stream) = Socket::accept(stream, life.behaviour.tls.as_ref()).await else {
        return;
    };
    let mut wire = Wire::new(stream, guest);
    let mut served = 0;
    loop {
        served += 1;
        let is_last = life
            .behaviour
            .keep_alive_requests
            .is_some_and(|most| served >= most);
        match next_exchange(&mut wire, &life, served, is_last).await {
            Next::Request => {}
            Next::Close => return wire.close().await,
            Next::Reset => return wire.reset(),
        }
    }
}

/// The next step of a connection after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Request,
    Close,
    Reset,
}

async fn next_exchange(wire: &mut Wire, life: &Arc<Life>, served: u32, is_last: bool) -> Next {
    wire.guest().is_now(Activity::Idle);
    let head = timeout(life.behaviour.keep_alive, wire.receive_head()).await;
    wire.guest().is_now(Activity::Busy);
    match head {
        Err(_) | Ok(Err(NoRequest::Gone)) => Next::Close,
        Ok(Err(NoRequest::Bad)) => refuse_unreadable(wire).await,
        Ok(Ok(_)) if life.behaviour.closes_under_the_next && served > 1 => Next::Reset,
        Ok(Ok(request)) => {
            let _counted = life.controls.counts.enter();
            exchange(wire, life, request, is_last)
                .await
                .unwrap_or(Next::Close)
        }
    }
}

/// Reads the body, executes, answers. An error is a connection that broke.
async fn exchange(
    wire: &mut Wire,
    life: &Arc<Life>,
    request: Request,
    is_last: bool,
) -> std::io::Result<Next> {
    if let Some(fault) = strike_before_body(life, &request) {
        return suffer_before_body(wire, life, request, fault).await;
    }
    let body = match wire.receive_body(&request).await {
        Ok(body) => body,
        Err(NoRequest::Gone) => return Ok(Next::Close),
        Err(NoRequest::Bad) => return Ok(refuse_unreadable(wire).await),
    };
    let request = Arc::new(request.with_body(body));
    life.controls.remember(&request);
    if request.minor_version() > 0 && request.count_of("host") != 1 {
        return Ok(refuse_unreadable(wire).await);
    }
    let Ok(path) = normalise(request.raw_path()) else {
        return Ok(refuse_unreadable(wire).await);
    };
    let route = route(&request, &path, &life.catalog().contents);
    life.controls.counts.received[route.class].fetch_add(1, Ordering::Relaxed);
    let fault = life.controls.strike(route.class, &path, false);
    let keep_alive = request.wants_keep_alive() && !is_last && wire.guest().may_stay();
    Exchange {
        wire,
        life,
        request: &request,
        keep_alive,
    }
    .run(route, fault)
    .await
}

fn strike_before_body(life: &Life, request: &Request) -> Option<Fault> {
    if !life.controls.is_ailing() {
        return None;
    }
    let path = normalise(request.raw_path()).ok()?;
    let class = route(request, &path, &life.catalog().contents).class;
    life.controls.strike(class, &path, true)
}

async fn suffer_before_body(
    wire: &mut Wire,
    life: &Life,
    request: Request,
    fault: Fault,
) -> std::io::Result<Next> {
    let request = Arc::new(request.with_body(RequestBody::default()));
    life.controls.remember(&request);
    let Fault::AnswerEarly(status) = fault else {
        return Ok(Next::Reset);
    };
    let manner = Manner {
        ending: Ending::Whole,
        drip: None,
        keep_alive: false,
    };
    wire.send(
        Answer::container_page(status, "Early"),
        &request,
        b"",
        manner,
    )
    .await?;
    Ok(Next::Close)
}

async fn refuse_unreadable(wire: &mut Wire) -> Next {
    // The peer may be gone already; the connection ends either way.
    wire.send_raw(b"HTTP/1.1 400 \r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .await
        .ok();
    Next::Close
}

/// One request and the connection it came on.
struct Exchange<'a> {
    wire: &'a mut Wire,
    life: &'a Arc<Life>,
    request: &'a Request,
    keep_alive: bool,
}

impl Exchange<'_> {
    async fn run(mut self, route: Route<'_>, fault: Option<Fault>) -> std::io::Result<Next> {
        match fault {
            None => self.answer(route).await,
            Some(Fault::Hang) => self.hang().await,
            Some(Fault::Close) => Ok(Next::Close),
            Some(Fault::Garbage) => self.send_garbage().await,
            Some(Fault::Raw(bytes)) => {
                self.wire.send_raw(bytes.as_bytes()).await?;
                Ok(Next::Request)
            }
            Some(Fault::Fields(count)) => self.send_fields(count).await,
            Some(Fault::Slow(time)) => {
                sleep(time).await;
                self.answer(route).await
            }
            Some(Fault::Reset(when)) => self.reset(route, when).await,
            Some(Fault::Truncate) => {
                self.execute_and_send(route, Ending::Half, None).await?;
                Ok(Next::Close)
            }
            Some(Fault::Drip { bytes, pause }) => {
                self.execute_and_send(route, Ending::Whole, Some((bytes, pause)))
                    .await
            }
            Some(fault) => {
                let answer = sick_answer(&fault, &route);
                self.send(answer, Ending::Whole, None).await
            }
        }
    }

    async fn answer(&mut self, route: Route<'_>) -> std::io::Result<Next> {
        self.execute_and_send(route, Ending::Whole, None).await
    }

    async fn execute_and_send(
        &mut self,
        route: Route<'_>,
        ending: Ending,
        drip: Option<(usize, Duration)>,
    ) -> std::io::Result<Next> {
        let _thread = match &self.life.threads {
            Some(threads) => Some(
                threads
                    .acquire()
                    .await
                    .expect("the semaphore is never closed"),
            ),
            None => None,
        };
        let (answer, _slot) = service::execute(self.life, self.request, route).await;
        self.send(answer, ending, drip).await
    }

    async fn send(
        &mut self,
        answer: Answer,
        ending: Ending,
        drip: Option<(usize, Duration)>,
    ) -> std::io::Result<Next> {
        let is_compressed = self.life.behaviour.compresses_text
            && self.request.lists("accept-encoding", "gzip")
            && answer.is_compressible();
        let answer = if is_compressed {
            answer.compressed()
        } else {
            answer
        };
        // Without chunks only the end of the connection marks the end of a stream.
        let needs_close =
            self.request.minor_version() == 0 && matches!(answer.body, Body::Stream(_));
        let keep_alive = self.keep_alive && !needs_close;
        let identity = self.identity(keep_alive);
        self.wire
            .send(
                answer,
                self.request,
                &identity,
                Manner {
                    ending,
                    drip,
                    keep_alive,
                },
            )
            .await?;
        Ok(if keep_alive {
            Next::Request
        } else {
            Next::Close
        })
    }

    /// Returns the header lines by which a test identifies the instance, its catalog and the
    /// request, and those that Tomcat adds: the time, and the idle timeout for a client with
    /// `Connection: keep-alive`.
    fn identity(&self, keep_alive: bool) -> Vec<u8> {
        let behaviour = &self.life.behaviour;
        let skew = Duration::from_secs(behaviour.clock_skew.unsigned_abs());
        let now = SystemTime::now();
        let now = if behaviour.clock_skew < 0 {
            now - skew
        } else {
            now + skew
        };
        let mut lines = format!(
            "Date: {}\r\nX-Geosim: {}\r\nX-Geosim-Epoch: {}\r\n",
            httpdate::fmt_http_date(now),
            self.life.name,
            self.life.catalog().contents.edits
        );
        if keep_alive && self.request.lists("connection", "keep-alive") {
            let seconds = behaviour.keep_alive.as_secs();
            lines.push_str(&format!("Keep-Alive: timeout={seconds}\r\n"));
            if self.request.minor_version() > 0 {
                lines.push_str("Connection: keep-alive\r\n");
            }
        }
        if let Some(tag) = self.request.parameter(TAG) {
            lines.extend(["X-Geosim-Tag: ", &tag.replace(['\r', '\n'], ""), "\r\n"]);
        }
        if self.life.behaviour.allows_cross_origin {
            lines +=
                "Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: X-Geosim\r\n";
        }
        lines.into_bytes()
    }

    async fn hang(&self) -> std::io::Result<Next> {
        self.wire.guest().is_now(Activity::Hung);
        std::future::pending().await
    }

    async fn send_fields(&mut self, count: usize) -> std::io::Result<Next> {
        let fields: String = (0..count)
            .map(|number| format!("X-Field-{number}: a\r\n"))
            .collect();
        self.wire
            .send_raw(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n").as_bytes())
            .await?;
        Ok(Next::Close)
    }

    async fn send_garbage(&mut self) -> std::io::Result<Next> {
        self.wire
            .send_raw(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
            .await?;
        Ok(Next::Close)
    }

    async fn reset(&mut self, route: Route<'_>, when: When) -> std::io::Result<Next> {
        match when {
            When::BeforeReading | When::BeforeExecution => {}
            When::BeforeAnswer => {
                service::execute(self.life, self.request, route).await;
            }
            When::InAnswer => _ = self.execute_and_send(route, Ending::Half, None).await?,
        }
        Ok(Next::Reset)
    }
}

/// The answer of an instance that is sick in this way, without doing the work.
fn sick_answer(fault: &Fault, route: &Route<'_>) -> Answer {
    match fault {
        Fault::Status(status) => Answer::container_page(*status, "Internal Server Error"),
        Fault::Undeployed => Answer::not_found(),
        Fault::Busy => Answer::container_page(503, BUSY),
        Fault::RateLimited => rate_limited(),
        Fault::OutOfMemory => exception("java.lang.OutOfMemoryError: Java heap space", route),
        Fault::Exception(text) => exception(text, route),
        Fault::Refuse
        | Fault::Starting
        | Fault::ResetConnections
        | Fault::Hang
        | Fault::Reset(_)
        | Fault::Close
        | Fault::Slow(_)
        | Fault::Drip { .. }
        | Fault::Truncate
        | Fault::AnswerEarly(_)
        | Fault::Fields(_)
        | Fault::Raw(_)
        | Fault::Garbage => unreachable!("{fault:?} is not an answer"),
    }
}

fn rate_limited() -> Answer {
    Answer::container_page(429, "Too Many Requests")
        .with("X-Rate-Limit-Context", "Any OGC request")
        .with("X-Rate-Limit-Limit", "100")
        .with("X-Rate-Limit-Remaining", "0")
        .with("X-Rate-Limit-Action", "Reject excess requests")
}

/// Returns an exception in the shape of the requested service, or the container's 500 if there was
/// none.
fn exception(text: &str, route: &Route<'_>) -> Answer {
    match &route.part {
        Part::Ows(call) => ServiceException::internal(text).answer(call.dialect, &call.kvp),
        _ if route.class == RequestClass::Unknown => {
            ServiceException::internal(text).answer(Dialect::Ows, &super::kvp::Kvp::new(b"", b""))
        }
        _ => Answer::container_page(500, text),
    }
}
