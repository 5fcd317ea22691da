//! Traces for OpenTelemetry: the spans that a receiver gets, and the headers that upstreams get.

mod delivery;
mod receiver;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use geofront::cluster::Mode;
use geofront::geosim::{Fault, Request, When};
use geofront::ogc::RequestClass;

use super::client::{Client, get};
use super::requests::{FEATURES, MAP};
use super::rig::{Plan, Rig};
use receiver::{Receiver, Recorded};

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLERS_SPAN: &str = "00f067aa0ba902b7";
const TRUSTED: &str = "trusted_proxies = [\"127.0.0.1/32\"]";

fn request(target: &str, headers: &[(&str, &str)]) -> String {
    let mut request = format!("GET {target} HTTP/1.1\r\nHost: maps.example.org:8443\r\n");
    for (name, value) in headers {
        write!(request, "{name}: {value}\r\n").unwrap();
    }
    request + "\r\n"
}

/// The last request of a client that an upstream got.
fn upstreams_view(rig: &Rig) -> Arc<Request> {
    let all = rig.replicas.iter().chain([&rig.main]);
    let mut of_clients: Vec<_> = all
        .flat_map(|instance| instance.requests())
        .filter(|request| request.header("via").is_some())
        .collect();
    of_clients.pop().expect("a request of a client")
}

fn named<'s>(spans: &'s [Recorded], name: &str) -> &'s Recorded {
    let found = spans.iter().find(|span| span.0.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_traces_the_clients_headers_pass_untouched() {
    let rig = Plan::replicas(1).top(TRUSTED).start().await;
    // Not even valid: it is none of our business.
    for parent in [CALLER, "ff-nonsense"] {
        let headers = [("traceparent", parent), ("tracestate", "a=1, b=2")];
        assert_eq!(
            rig.request(request(MAP, &headers).as_bytes()).await.status,
            200
        );
        let seen = upstreams_view(&rig);
        assert_eq!(seen.header("traceparent"), Some(parent));
        assert_eq!(seen.header("tracestate"), Some("a=1, b=2"));
    }
    assert_eq!(rig.get(MAP).await.status, 200);
    assert_eq!(upstreams_view(&rig).header("traceparent"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_a_stranger_has_a_trace_of_its_own_with_every_part() {
    let receiver = Receiver::start().await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let rig = Plan::replicas(1)
        .access_log(&log)
        .with(&receiver.table("sample = 1\nservice_name = \"door\"\nattributes = { \"deployment.environment.name\" = \"test\" }"))
        .start()
        .await;
    let headers = [
        ("traceparent", CALLER),
        ("tracestate", "a=1"),
        ("Authorization", "Basic c2VjcmV0OnNlY3JldA=="),
        ("Cookie", "JSESSIONID=secret"),
        ("User-Agent", "a-viewer/1"),
    ];
    let target = format!("{MAP}&authkey=secret");
    let answer = rig.request(request(&target, &headers).as_bytes()).await;
    assert_eq!(answer.status, 200);
    let all = receiver.until_requests(&rig, 1).await;
    let whole = &all[0];
    assert_eq!(whole.0.name, "GET map");
    assert_ne!(whole.trace_id(), TRACE, "a stranger cannot choose a trace");
    assert_eq!(whole.parent(), "");
    assert_eq!(whole.0.links.len(), 1);
    let link = &whole.0.links[0];
    assert_eq!(
        (link.trace_id.len(), link.span_id.len(), link.trace_id[0]),
        (16, 8, 0x4b)
    );
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("url.scheme", "http"),
        ("url.path", "/geoserver/wms"),
        ("server.address", "maps.example.org"),
        ("server.port", "8443"),
        ("client.address", "127.0.0.1"),
        ("user_agent.original", "a-viewer/1"),
        ("network.protocol.version", "1.1"),
        ("geofront.class", "map"),
        ("geofront.service", "WMS"),
        ("geofront.operation", "GetMap"),
        ("geofront.layer", "geor:public_layer"),
        ("geofront.upstream", "slave1"),
        ("geofront.attempts", "1"),
        ("geofront.end", "ok"),
    ] {
        assert_eq!(whole.get(key), value, "{key}");
    }
    assert_eq!(
        whole.get("geofront.request_id"),
        answer.header("x-request-id").unwrap()
    );
    assert!(
        whole.get("url.query").ends_with("&authkey=***"),
        "{}",
        whole.get("url.query")
    );
    let parts = receiver.parts_of(whole);
    let attempt = named(&parts, "attempt slave1");
    assert_eq!((attempt.parent(), attempt.0.kind), (whole.id(), 3));
    assert_eq!(attempt.get("http.response.status_code"), "200");
    assert_eq!(attempt.get("geofront.outcome"), "ok");
    assert_eq!(
        attempt.get("server.port"),
        rig.replicas[0].address().port().to_string()
    );
    assert!(attempt.get("url.full").starts_with(&rig.replicas[0].url()));
    let upstream = named(&parts, "upstream");
    assert_eq!(upstream.parent(), attempt.id());
    assert_eq!(upstream.0.events[0].name, "first_byte");
    let times = [
        whole.0.start_time_unix_nano,
        attempt.0.start_time_unix_nano,
        upstream.0.start_time_unix_nano,
        upstream.0.events[0].time_unix_nano,
        upstream.0.end_time_unix_nano,
        attempt.0.end_time_unix_nano,
        whole.0.end_time_unix_nano,
    ];
    assert!(times.is_sorted(), "{times:?}");
    // The upstream continues the attempt.
    let seen = upstreams_view(&rig);
    let passed = format!("00-{}-{}-01", whole.trace_id(), attempt.id());
    assert_eq!(seen.header("traceparent"), Some(passed.as_str()));
    assert_eq!(
        (seen.count_of("traceparent"), seen.header("tracestate")),
        (1, None)
    );
    assert_eq!(receiver.path(), "/v1/traces");
    assert_eq!(receiver.resource("service.name").as_deref(), Some("door"));
    assert_eq!(
        receiver.resource("deployment.environment.name").as_deref(),
        Some("test")
    );
    assert!(!format!("{:?}", receiver.spans()).contains("secret"));
    let line = format!(" trace={}\n", whole.trace_id());
    rig.until("the line has the trace", |_| {
        std::fs::read_to_string(&log).is_ok_and(|text| text.contains(&line))
    })
    .await;
    rig.metrics_with("geofront_spans_sent_total 3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trusted_peer_has_its_trace_continued_and_decides_whether_it_is_recorded() {
    let receiver = Receiver::start().await;
    let rig = Plan::replicas(1)
        .top(TRUSTED)
        .with(&receiver.table("sample = 0"))
        .start()
        .await;
    let headers = [("traceparent", CALLER), ("tracestate", "a=1, b=2")];
    rig.request(request(MAP, &headers).as_bytes()).await;
    let all = receiver.until_requests(&rig, 1).await;
    assert_eq!(
        (all[0].trace_id(), all[0].parent()),
        (TRACE.to_owned(), CALLERS_SPAN.to_owned())
    );
    assert_eq!(
        (all[0].0.trace_state.as_str(), all[0].0.links.len()),
        ("a=1, b=2", 0)
    );
    let parts = receiver.parts_of(&all[0]);
    let seen = upstreams_view(&rig);
    let passed = format!("00-{TRACE}-{}-01", named(&parts, "attempt slave1").id());
    assert_eq!(seen.header("traceparent"), Some(passed.as_str()));
    assert_eq!(seen.header("tracestate"), Some("a=1, b=2"));

    // Not recorded by the caller: as it is, and with no spans.
    let unsampled = CALLER.replace("-01", "-00");
    let headers = [("traceparent", unsampled.as_str()), ("tracestate", "a=1")];
    rig.request(request(MAP, &headers).as_bytes()).await;
    let seen = upstreams_view(&rig);
    assert_eq!(seen.header("traceparent"), Some(unsampled.as_str()));
    assert_eq!(seen.header("tracestate"), Some("a=1"));

    // Invalid, or there twice: another trace, which is not sampled here, and no state of the old.
    let twice = [
        ("traceparent", CALLER),
        ("traceparent", CALLER),
        ("tracestate", "a=1"),
    ];
    let wrong = [("traceparent", "00-short"), ("tracestate", "a=1")];
    for headers in [twice.as_slice(), &wrong] {
        rig.request(request(MAP, headers).as_bytes()).await;
        let seen = upstreams_view(&rig);
        let parent = seen.header("traceparent").unwrap();
        assert!(
            parent.ends_with("-00") && !parent.contains(TRACE),
            "{parent}"
        );
        assert_eq!(
            (seen.count_of("traceparent"), seen.header("tracestate")),
            (1, None)
        );
    }
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_cannot_have_its_requests_recorded() {
    let receiver = Receiver::start().await;
    let rig = Plan::replicas(1)
        .with(&receiver.table("sample = 0"))
        .start()
        .await;
    for _ in 0..20 {
        rig.request(request(MAP, &[("traceparent", CALLER)]).as_bytes())
            .await;
        let seen = upstreams_view(&rig);
        let parent = seen.header("traceparent").unwrap();
        assert!(
            parent.ends_with("-00") && !parent.contains(TRACE),
            "{parent}"
        );
    }
    let _app = rig.app.stop().await;
    assert_eq!(receiver.messages(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_attempt_has_a_span_and_its_own_parent_for_the_upstream() {
    let receiver = Receiver::start().await;
    let rig = Plan::replicas(2)
        .with(&receiver.table("sample = 1.0"))
        .with("[retry]\nbudget_percent = 100")
        .start()
        .await;
    for replica in &rig.replicas {
        replica.suffers(
            Fault::Reset(When::BeforeAnswer)
                .only(RequestClass::Feature)
                .times(1),
        );
    }
    let answer = rig.get(FEATURES).await;
    assert_eq!(answer.status, 200);
    let all = receiver.until_requests(&rig, 1).await;
    let parts = receiver.parts_of(&all[0]);
    let attempts: Vec<_> = parts.iter().filter(|span| span.0.kind == 3).collect();
    assert_eq!(attempts.len().to_string(), all[0].get("geofront.attempts"));
    assert!(attempts.len() >= 2 && !all[0].is_error());
    for (number, attempt) in attempts.iter().enumerate() {
        let is_last = number + 1 == attempts.len();
        assert_eq!(attempt.is_error(), !is_last, "{attempt:?}");
        let outcome = if is_last { "ok" } else { "reset" };
        assert_eq!(attempt.get("geofront.outcome"), outcome);
        let resent = if number == 0 {
            String::new()
        } else {
            number.to_string()
        };
        assert_eq!(attempt.get("http.request.resend_count"), resent);
    }
    let mut ids: Vec<_> = attempts.iter().map(|attempt| attempt.id()).collect();
    let instances = rig.replicas.iter().chain([&rig.main]);
    let seen = instances.flat_map(|instance| instance.requests());
    let mut passed: Vec<String> = seen
        .filter_map(|request| Some(request.header("traceparent")?[36..52].to_owned()))
        .collect();
    ids.sort();
    passed.sort();
    assert_eq!(ids, passed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_leaves_an_upstream_has_an_attempt_that_was_moved() {
    let receiver = Receiver::start().await;
    let rig = Plan::replicas(2)
        .with(&receiver.table("sample = 1.0"))
        .health("fall = 2")
        .start()
        .await;
    let set_mode = |mode| {
        let set = rig
            .app
            .control
            .set_mode("slave2", mode, false, Instant::now());
        set.unwrap();
    };
    rig.replicas[0].suffers(Fault::Hang.only(RequestClass::Feature));
    set_mode(Mode::Drain);
    let mut client = rig.client().await;
    client.send(get(FEATURES).as_bytes()).await.unwrap();
    rig.until("the read is on it", |rig| {
        rig.upstream("slave1").in_flight == 1
    })
    .await;
    set_mode(Mode::Ready);
    rig.replicas[0].suffers(Fault::Hang);
    assert_eq!(client.answer().await.unwrap().status, 200);
    let all = receiver.until_requests(&rig, 1).await;
    let parts = receiver.parts_of(&all[0]);
    let moved = named(&parts, "attempt slave1");
    assert_eq!(moved.get("geofront.outcome"), "moved");
    assert!(moved.is_error() && moved.get("http.response.status_code").is_empty());
    assert_eq!(
        named(&parts, "attempt slave2").get("geofront.outcome"),
        "ok"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_for_a_slot_is_a_span_and_a_refusal_says_why() {
    let receiver = Receiver::start().await;
    let rig = Plan::replicas(1)
        .with(&receiver.table("sample = 1.0"))
        .with("[limits]\nmax_in_flight = 1\nqueue = 1\n[classes.map]\npriority = 1")
        .start()
        .await;
    let map = |layer: &str, work: &str| format!("{MAP}&geosim_work={work}&n={layer}");
    let sent = async |target: String| {
        let mut client: Client = rig.client().await;
        client.send(get(&target).as_bytes()).await.unwrap();
        client
    };
    let mut first = sent(map("1", "1500ms")).await;
    rig.until("it has the slot", |rig| {
        rig.upstream("slave1").in_flight == 1
    })
    .await;
    let mut second = sent(map("2", "1ms")).await;
    rig.until("one waits", |rig| rig.app.queue().waiting() == 1)
        .await;
    let refused = rig.get(&map("3", "1ms")).await;
    assert_eq!(refused.status, 503);
    assert_eq!(first.answer().await.unwrap().status, 200);
    assert_eq!(second.answer().await.unwrap().status, 200);
    let all = receiver.until_requests(&rig, 3).await;
    let of = |n: &str| {
        let found = all
            .iter()
            .find(|span| span.get("url.query").ends_with(&format!("n={n}")));
        found.expect("each request has a trace")
    };
    let parts = receiver.parts_of(of("2"));
    let queue = named(&parts, "queue");
    assert_eq!(queue.parent(), of("2").id());
    assert_eq!(queue.get("geofront.class"), "map");
    assert_eq!(queue.get("geofront.priority"), "1");
    assert_eq!(queue.get("geofront.outcome"), "admitted");
    let waited = queue.0.end_time_unix_nano - queue.0.start_time_unix_nano;
    assert!(
        Duration::from_nanos(waited) > Duration::from_millis(10),
        "{waited}"
    );
    let refused = of("3");
    assert!(refused.is_error() && receiver.parts_of(refused).is_empty());
    assert_eq!(refused.get("http.response.status_code"), "503");
    assert_eq!(refused.get("geofront.refusal"), "queue-full");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_shares_an_answer_links_to_the_one_that_got_it() {
    let receiver = Receiver::start().await;
    let rig = Plan::replicas(1)
        .with(&receiver.table("sample = 1.0"))
        .start()
        .await;
    let map = format!(
        "{}&geosim_work=1200ms",
        MAP.replace("/geoserver/", "/geoserver/geor/")
    );
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = rig.client().await;
        client.send(get(&map).as_bytes()).await.unwrap();
        clients.push(client);
    }
    for client in &mut clients {
        assert_eq!(client.answer().await.unwrap().status, 200);
    }
    let all = receiver.until_requests(&rig, 3).await;
    let (led, followed): (Vec<_>, Vec<_>) = all
        .iter()
        .partition(|span| span.get("geofront.attempts") == "1");
    assert_eq!((led.len(), followed.len()), (1, 2));
    for request in followed {
        let parts = receiver.parts_of(request);
        assert_eq!(parts.len(), 1, "{parts:#?}");
        let wait = named(&parts, "coalesced");
        assert_eq!(
            wait.get("geofront.coalesced"),
            led[0].get("geofront.request_id")
        );
        assert_eq!(wait.0.links[0].trace_id, led[0].0.trace_id);
        assert_eq!(wait.0.links[0].span_id, led[0].0.span_id);
        assert_eq!(request.get("geofront.upstream"), "slave1");
    }
}
