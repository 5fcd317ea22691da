//! A scanner for PromQL that knows enough to find series and labels.

/// The vector selectors of `query`: names of metrics, each with its matchers in braces.
pub(crate) fn selectors(query: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(word) = next_word(query, &mut at) {
        let is_metric = word == "up"
            || word.contains(':')
            || word.starts_with("geofront_")
            || word.starts_with("process_");
        if !is_metric {
            continue;
        }
        let rest = &query[at..];
        let matchers = if rest.starts_with('{') {
            end_of_matchers(rest)
        } else {
            0
        };
        found.push(format!("{word}{}", &rest[..matchers]));
        at += matchers;
    }
    found
}

/// The labels that aggregations and joins of `query` name.
pub(crate) fn grouping_labels(query: &str) -> Vec<String> {
    let mut found = Vec::new();
    for keyword in [
        "by",
        "on",
        "group_left",
        "group_right",
        "ignoring",
        "without",
    ] {
        for (begin, _) in query.match_indices(keyword) {
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let rest = query[begin + keyword.len()..].trim_start();
            if query[..begin].ends_with(is_word) || !rest.starts_with('(') {
                continue;
            }
            let list = rest[1..].split(')').next().unwrap_or_default();
            let labels = list.split(',').map(|label| label.trim().to_owned());
            found.extend(labels.filter(|label| !label.is_empty()));
        }
    }
    found
}

/// The name of the metric family that `selector` reads.
pub(crate) fn family(selector: &str) -> &str {
    let name = selector.split('{').next().unwrap_or_default();
    ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|end| name.strip_suffix(end))
        .unwrap_or(name)
}

/// The next word at or after `at`, outside of quotes; `at` moves behind it.
fn next_word<'q>(query: &'q str, at: &mut usize) -> Option<&'q str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    loop {
        let rest = &query[*at..];
        let first = rest.chars().next()?;
        if first == '"' {
            *at += 1 + rest[1..].find('"').map_or(rest.len() - 1, |end| end + 1);
        } else if is_word(first) {
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            *at += length;
            return Some(&rest[..length]);
        } else {
            *at += first.len_utf8();
        }
    }
}

/// The length of the matchers at the start of `rest`, braces included.
fn end_of_matchers(rest: &str) -> usize {
    let mut is_quoted = false;
    for (at, c) in rest.char_indices() {
        match c {
            '"' => is_quoted = !is_quoted,
            '}' if !is_quoted => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

#[test]
fn selectors_and_labels_are_found_in_a_query() {
    let query = "sum by (job, le) (rate(geofront_a_bucket{kind!~\"x}|up\",b=\"\"}[5m])) > 0.1 \
        and on (job) class:geofront_b:rate5m or up{job=\"geofront\"} offset 3m";
    assert_eq!(
        selectors(query),
        [
            "geofront_a_bucket{kind!~\"x}|up\",b=\"\"}",
            "class:geofront_b:rate5m",
            "up{job=\"geofront\"}"
        ]
    );
    assert_eq!(grouping_labels(query), ["job", "le", "job"]);
    assert_eq!(family("geofront_a_bucket{b=\"\"}"), "geofront_a");
}
