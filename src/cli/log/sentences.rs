//! Explains a line of the access log in sentences: the request, where its time went, how it ended,
//! and what to check.

use super::line::LogLine;
use crate::ogc::RequestClass;

/// The manual, with the table of refusal reasons that explains them in one place.
const MANUAL: &str = include_str!("../../../docs/operations.md");

/// The heading above that table.
const REASONS: &str = "### Refusal reasons";

/// Below this, in milliseconds, a part of the time is not worth a sentence.
const SHORT: f64 = 5.0;

/// The sentences about one request. `sharers` is the number of requests that shared its answer.
pub(super) fn sentences(line: &LogLine, sharers: u64) -> Vec<String> {
    let mut sentences = vec![headline(line), request(line)];
    sentences.extend(class(line));
    sentences.extend(queue(line));
    sentences.extend(upstream(line, sharers));
    sentences.extend(where_the_time_went(line));
    sentences.extend(end(line));
    sentences
}

fn headline(line: &LogLine) -> String {
    let id = line.text("id").unwrap_or("?");
    let time = line.text("time").unwrap_or("?");
    let status = match line.number("status") {
        Some(status) => format!("status {status}"),
        None => "no answer".to_owned(),
    };
    let total = line
        .millis("total_ms")
        .map(|ms| format!(" after {}", time_of(ms)));
    format!(
        "Request {id} of {time}: {status}{}",
        total.unwrap_or_default()
    )
}

fn request(line: &LogLine) -> String {
    let client = line.text("client").unwrap_or("an unknown address");
    let through = line
        .text("peer")
        .filter(|peer| Some(*peer) != line.text("client"))
        .map(|peer| format!(" through {peer}"));
    let user = line.text("user").map(|user| format!(", as user {user}"));
    let method = line.text("method").unwrap_or("?");
    let path = line.text("path").unwrap_or("?");
    let cluster = line
        .text("cluster")
        .map(|name| format!(" of cluster {name}"));
    format!(
        "- {client}{}{} requested {method} {path}{}",
        through.unwrap_or_default(),
        user.unwrap_or_default(),
        cluster.unwrap_or_default()
    )
}

fn class(line: &LogLine) -> Option<String> {
    let class = line.text("class")?;
    let parts: Vec<&str> = ["service", "operation"]
        .into_iter()
        .filter_map(|key| line.text(key))
        .collect();
    let layer = line.text("layer").map(|layer| format!("layer {layer}"));
    let details: Vec<String> = [parts.join(" ")]
        .into_iter()
        .filter(|text| !text.is_empty())
        .chain(layer)
        .collect();
    let details = match details.as_slice() {
        [] => String::new(),
        details => format!(" ({})", details.join(", ")),
    };
    Some(format!(
        "- It is a request of the class {class}{details}: `geofront explain` shows why, and where it may go"
    ))
}

fn queue(line: &LogLine) -> Option<String> {
    let waited = line.millis("queue_ms")?;
    Some(if waited < SHORT {
        "- It waited for a slot, but hardly".to_owned()
    } else {
        format!(
            "- It waited {} for a slot, because every upstream that it may use was at its limit",
            time_of(waited)
        )
    })
}

fn upstream(line: &LogLine, sharers: u64) -> Vec<String> {
    let mut sentences = Vec::new();
    if let Some(other) = line.text("coalesced") {
        sentences.push(format!(
            "- The same request was under way: it shared the answer of {other} (`geofront log --why {other}`)"
        ));
    }
    if sharers > 0 {
        let requests = if sharers == 1 {
            "1 identical request".to_owned()
        } else {
            format!("{sharers} identical requests")
        };
        sentences.push(format!("- {requests} shared its answer"));
    }
    let upstream = line.text("upstream");
    match (line.number("attempts"), upstream) {
        (Some(0) | None, _) => {
            if line.text("coalesced").is_none() {
                sentences.push("- No upstream was tried".to_owned());
            }
        }
        (Some(1), Some(upstream)) => {
            sentences.push(format!("- It went to {upstream}{}", connection(line)));
        }
        (Some(attempts), Some(upstream)) => sentences.push(format!(
            "- {attempts} upstreams were tried, {upstream} as the last{}. geofront's own log at that time has the cause of each failure",
            connection(line)
        )),
        (Some(attempts), None) => sentences.push(format!("- {attempts} upstreams were tried")),
    }
    sentences
}

fn connection(line: &LogLine) -> String {
    match (line.millis("connect_ms"), line.millis("first_byte_ms")) {
        (_, None) => ", which did not begin an answer".to_owned(),
        (Some(connect), Some(first)) if connect >= SHORT => format!(
            ", which took {} to connect and began its answer after {}",
            time_of(connect),
            time_of(first)
        ),
        (_, Some(first)) => format!(", which began its answer after {}", time_of(first)),
    }
}

/// The largest part of a slow request's time.
fn where_the_time_went(line: &LogLine) -> Option<String> {
    let class = RequestClass::ALL
        .into_iter()
        .find(|class| Some(class.as_str()) == line.text("class"))?;
    let total = line.millis("total_ms")?;
    let slow_after = class.row().slow_after.as_secs_f64() * 1000.0;
    if total < slow_after {
        return None;
    }
    let queue = line.millis("queue_ms").unwrap_or(0.0);
    let first_byte = line.millis("first_byte_ms").unwrap_or(0.0);
    let connect = line.millis("connect_ms").unwrap_or(0.0);
    let rest = (total - queue - first_byte).max(0.0);
    let parts = [
        (
            queue,
            "the wait for a slot: the cluster was busy. See `geofront status`, and docs/limits.md",
        ),
        (
            connect,
            "the connection to the upstream: see whether its machine or its accept queue is overloaded",
        ),
        (
            first_byte - connect,
            "GeoServer's work before its answer began: the layer, its style or its database is slow, or the instance was busy",
        ),
        (
            rest,
            "the rest of the answer, other attempts included: a large answer, a slow client, or an upstream that failed first",
        ),
    ];
    let (longest, what) = parts.into_iter().max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    Some(format!(
        "- It was slow for its class ({} is the mark): {} of {} went into {what}",
        time_of(slow_after),
        time_of(longest),
        time_of(total)
    ))
}

fn end(line: &LogLine) -> Vec<String> {
    let status = line.number("status");
    let end = line.text("end").unwrap_or_default();
    if let Some(reason) = end.strip_prefix("refused:") {
        let meaning = refusal_meaning(reason)
            .unwrap_or_else(|| "this version of geofront does not know the reason".to_owned());
        return vec![format!(
            "- geofront answered itself, with the reason `{reason}`: {meaning}"
        )];
    }
    let bytes = line.number("bytes").unwrap_or(0);
    vec![match end {
        "ok" => match status {
            Some(status) if status >= 500 => format!(
                "- The answer is GeoServer's own: the log of {} at that time has its cause",
                line.text("upstream").unwrap_or("the upstream")
            ),
            Some(401 | 403) => "- The answer is GeoServer's own: it did not accept the user, or the user may not do that".to_owned(),
            Some(404) => "- The answer is GeoServer's own: it knows no such path, workspace or layer".to_owned(),
            Some(_) | None => format!("- The client has the whole answer of {bytes} bytes"),
        },
        "client-abort" => format!(
            "- The client left before it had the whole answer; it had {bytes} bytes. Map viewers do so when the user pans on"
        ),
        "client-too-slow" => format!(
            "- The client read too slowly, and geofront closed the connection after {bytes} bytes: see `timeouts.client_write` and \
             `clients.min_download_rate`"
        ),
        "upstream-reset" => format!(
            "- {} broke off within its answer, after {bytes} bytes, and so the client's answer is cut off: see its log for an error or a \
             restart",
            line.text("upstream").unwrap_or("The upstream")
        ),
        "timeout" => format!(
            "- {} was silent within its answer for longer than `first_byte` of the class, after {bytes} bytes: see its log, or raise the \
             timeout",
            line.text("upstream").unwrap_or("The upstream")
        ),
        other => format!("- It ended with `{other}`"),
    }]
}

/// The row of the manual's table about this reason, without its links.
fn refusal_meaning(reason: &str) -> Option<String> {
    let table = MANUAL.split_once(REASONS)?.1;
    let row = table
        .lines()
        .take_while(|line| !line.starts_with("## "))
        .find(|line| line.starts_with(&format!("| `{reason}` |")))?;
    let meaning = row.trim_end_matches('|').rsplit(" | ").next()?.trim();
    Some(without_links(meaning))
}

/// `see limits.md` for `see [limits.md](limits.md#the-queue)`.
fn without_links(markdown: &str) -> String {
    let mut plain = String::new();
    let mut rest = markdown;
    while let Some((before, after)) = rest.split_once('[') {
        plain.push_str(before);
        match after.split_once("](") {
            Some((text, link)) if link.contains(')') => {
                plain.push_str(text);
                rest = link.split_once(')').map_or("", |(_, rest)| rest);
            }
            _ => {
                plain.push('[');
                rest = after;
            }
        }
    }
    plain + rest
}

fn time_of(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms if ms < 60_000.0 => format!("{:.1} s", ms / 1000.0),
        ms => super::super::humanize::span((ms / 1000.0) as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(line: &str, sharers: u64) -> String {
        sentences(&LogLine::parse(line).unwrap(), sharers).join("\n")
    }

    #[test]
    fn a_good_answer_is_described_from_arrival_to_end() {
        let line = "time=2026-03-01T09:12:03.353Z id=4f2a client=192.0.2.7 peer=10.0.0.5 method=GET path=/geoserver/wms?LAYERS=geor:roads \
            status=200 class=map service=WMS operation=GetMap layer=geor:roads upstream=replica2 coalesced=- attempts=1 queue_ms=- \
            connect_ms=0.000 first_byte_ms=48.210 total_ms=51.466 bytes=20480 end=ok user=jdoe";
        insta::assert_snapshot!(explained(line, 2), @r"
        Request 4f2a of 2026-03-01T09:12:03.353Z: status 200 after 51 ms
        - 192.0.2.7 through 10.0.0.5, as user jdoe requested GET /geoserver/wms?LAYERS=geor:roads
        - It is a request of the class map (WMS GetMap, layer geor:roads): `geofront explain` shows why, and where it may go
        - 2 identical requests shared its answer
        - It went to replica2, which began its answer after 48 ms
        - The client has the whole answer of 20480 bytes
        ");
    }

    #[test]
    fn the_cluster_of_several_is_named() {
        let line = "time=t id=a client=192.0.2.7 peer=192.0.2.7 method=GET path=/wms status=200 end=ok cluster=city";
        let requested = "- 192.0.2.7 requested GET /wms of cluster city";
        assert!(explained(line, 0).contains(requested));
    }

    #[test]
    fn a_refusal_is_explained_in_the_words_of_the_manual() {
        let line = "time=t id=a client=192.0.2.7 peer=192.0.2.7 method=GET path=/geoserver/wms status=503 class=map upstream=- attempts=0 \
            queue_ms=20000.000 total_ms=20000.400 bytes=300 end=refused:queue-timeout user=-";
        insta::assert_snapshot!(explained(line, 0), @r"
        Request a of t: status 503 after 20.0 s
        - 192.0.2.7 requested GET /geoserver/wms
        - It is a request of the class map: `geofront explain` shows why, and where it may go
        - It waited 20.0 s for a slot, because every upstream that it may use was at its limit
        - No upstream was tried
        - It was slow for its class (5.0 s is the mark): 20.0 s of 20.0 s went into the wait for a slot: the cluster was busy. See `geofront status`, and docs/limits.md
        - geofront answered itself, with the reason `queue-timeout`: no slot became free within `limits.queue_timeout`
        ");
    }

    #[test]
    fn the_longest_part_of_a_slow_request_is_named() {
        let line = |queue: u32, first: u32, total: u32| {
            explained(
                &format!(
                    "time=t id=a class=map upstream=a attempts=1 queue_ms={queue} connect_ms=0 first_byte_ms={first} total_ms={total} end=ok"
                ),
                0,
            )
        };
        assert!(line(9000, 100, 9200).contains("went into the wait for a slot"));
        assert!(line(10, 9000, 9200).contains("went into GeoServer's work"));
        assert!(line(10, 100, 9200).contains("went into the rest of the answer"));
        assert!(!line(10, 100, 200).contains("It was slow"));
    }

    #[test]
    fn every_end_has_a_sentence() {
        for (end, status, words) in [
            ("client-abort", "200", "The client left"),
            ("client-too-slow", "200", "read too slowly"),
            ("upstream-reset", "200", "a broke off within its answer"),
            ("timeout", "200", "was silent within its answer"),
            ("ok", "500", "the log of a at that time"),
            ("ok", "404", "knows no such path"),
            ("refused:no-upstream", "503", "is up and ready"),
            ("refused:all-failed", "503", "every attempt failed"),
        ] {
            let line = format!(
                "time=t id=a status={status} class=map upstream=a attempts=1 first_byte_ms=1 total_ms=2 bytes=7 end={end}"
            );
            let text = explained(&line, 0);
            assert!(text.contains(words), "{end}: {text}");
        }
    }

    #[test]
    fn links_are_shown_as_their_text() {
        assert_eq!(
            without_links("see [a.md](b.md#c) and [x]"),
            "see a.md and [x]"
        );
    }

    #[test]
    fn every_reason_of_the_manual_has_a_meaning() {
        let table = MANUAL.split_once(REASONS).unwrap().1;
        let rows: Vec<&str> = table
            .lines()
            .take_while(|line| !line.starts_with("## "))
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .collect();
        assert!(rows.len() > 30, "{rows:?}");
        for reason in rows {
            let meaning = refusal_meaning(reason).unwrap();
            assert!(
                meaning.len() > 10 && !meaning.contains("]("),
                "{reason}: {meaning}"
            );
        }
    }
}
