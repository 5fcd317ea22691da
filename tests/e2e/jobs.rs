//! Executions in the background and printed documents: only the GeoServer that began one has it.

use geofront::geosim::{Fault, Instance};

use super::client::{Answer, get};
use super::rig::{Plan, Rig};

const ASYNCHRONOUS: &str =
    "/geoserver/wps?service=WPS&request=Execute&storeExecuteResponse=true&identifier=";

impl Rig {
    /// Begins an execution of `process`; the instance that runs it, and the address of its status.
    async fn begin(&self, process: &str) -> (String, String) {
        let answer = self.get(&format!("{ASYNCHRONOUS}{process}")).await;
        let text = answer.text();
        let id = text
            .split("executionId=")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .unwrap_or_else(|| panic!("no execution in {text}"));
        let status =
            format!("/geoserver/ows?service=WPS&request=GetExecutionStatus&executionId={id}");
        (answer.served_by().to_owned(), status)
    }

    fn replica(&self, name: &str) -> &Instance {
        let at = name.trim_start_matches("slave").parse::<usize>().unwrap() - 1;
        &self.replicas[at]
    }
}

fn is_known(answer: &Answer) -> bool {
    answer.status == 200 && answer.text().contains("ProcessSucceeded")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_of_an_execution_is_requested_from_the_replica_that_runs_it() {
    let rig = Plan::replicas(3)
        .with("[classes.process]\nserved_by = \"replicas\"")
        .start()
        .await;
    let mut began = Vec::new();
    for _ in 0..6 {
        began.push(rig.begin("gs:Buffer").await);
    }
    let first = began[0].0.clone();
    assert!(began.iter().any(|(node, _)| *node != first), "{began:?}");
    for (node, status) in began.iter().cycle().take(24) {
        let answer = rig.get(status).await;
        assert!(is_known(&answer), "{}", answer.text());
        assert_eq!(answer.served_by(), node);
    }
    // What changes the catalog runs on the main, and its status is there.
    let (node, status) = rig.begin("gs:Import").await;
    assert_eq!(node, "main");
    assert!(is_known(&rig.get(&status).await));
    // An execution that was never begun goes where processes go.
    let nowhere = "/geoserver/ows?service=WPS&request=GetExecutionStatus&executionId=x";
    assert!(rig.get(nowhere).await.served_by().starts_with("slave"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execution_whose_replica_is_gone_is_an_error_that_says_so() {
    let rig = Plan::replicas(2)
        .with("[classes.process]\nserved_by = \"replicas\"")
        .start()
        .await;
    let (node, status) = rig.begin("gs:Buffer").await;
    rig.replica(&node).suffers(Fault::Refuse);
    rig.until("it is down", |rig| {
        rig.upstreams()
            .iter()
            .any(|upstream| upstream.name.as_str() == node && !upstream.eligible)
    })
    .await;
    let answer = rig.get(&status).await;
    assert_eq!(answer.status, 503);
    let text = answer.text();
    assert!(
        text.contains("ExceptionReport") && text.contains("that began this execution"),
        "{text}"
    );
    assert!(answer.header("retry-after").is_some());
    rig.replica(&node).heals();
    rig.until("it is back", |rig| {
        rig.upstreams().iter().all(|upstream| upstream.eligible)
    })
    .await;
    assert!(is_known(&rig.get(&status).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_left_the_configuration_takes_its_executions_with_it() {
    let rig = Plan::replicas(2)
        .with("[classes.process]\nserved_by = \"replicas\"")
        .start()
        .await;
    let (node, status) = rig.begin("gs:Buffer").await;
    let config = rig.config();
    let table = format!("[upstreams.{node}]");
    let (before, rest) = config.split_once(&table).expect("it is configured");
    let behind = rest.find("\n[").map_or("", |end| &rest[end..]);
    rig.write_config(&format!("{before}{behind}"));
    rig.until("it has left", |rig| rig.upstreams().len() == 2)
        .await;
    let answer = rig
        .client()
        .await
        .request(get(&status).as_bytes())
        .await
        .unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text());
}

const SPEC: &[u8] = b"POST /geoserver/pdf/create.json HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

impl Rig {
    /// Prints a map; the instance that drew it, and the path of the document.
    async fn print(&self) -> (String, String) {
        let answer = self.client().await.request(SPEC).await.unwrap();
        let document: serde_json::Value =
            serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{}", answer.text()));
        let address = document["getURL"].as_str().expect("it has an address");
        let path = &address[address.find("/geoserver/pdf/").expect("it is of printing")..];
        (answer.served_by().to_owned(), path.to_owned())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_printed_document_is_requested_from_the_replica_that_drew_it() {
    let rig = Plan::replicas(3)
        .with("[classes.process]\nserved_by = \"replicas\"")
        .start()
        .await;
    let mut printed = Vec::new();
    for _ in 0..6 {
        printed.push(rig.print().await);
    }
    let first = printed[0].0.clone();
    assert!(
        printed.iter().any(|(node, _)| *node != first),
        "{printed:?}"
    );
    for (node, document) in printed.iter().cycle().take(24) {
        let answer = rig.get(document).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.body.starts_with(b"%PDF"));
        assert_eq!(answer.served_by(), node);
    }
    // One that was never drawn goes where printing goes.
    let nowhere = rig.get("/geoserver/pdf/x.pdf.printout").await;
    assert_eq!(nowhere.status, 404);
    assert!(nowhere.served_by().starts_with("slave"));
    let offer = rig.get("/geoserver/pdf/info.json").await;
    assert!(offer.text().contains("createURL") && offer.served_by().starts_with("slave"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn printing_is_on_the_main_where_the_main_runs_processes() {
    let rig = Plan::replicas(2).start().await;
    for _ in 0..4 {
        let (node, document) = rig.print().await;
        assert_eq!(node, "main");
        let answer = rig.get(&document).await;
        assert_eq!((answer.status, answer.served_by()), (200, "main"));
    }
    let offer = rig.get("/geoserver/pdf/info.json").await;
    assert_eq!((offer.status, offer.served_by()), (200, "main"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_printed_document_whose_replica_is_gone_is_an_error_that_says_so() {
    let rig = Plan::replicas(2)
        .with("[classes.process]\nserved_by = \"replicas\"")
        .start()
        .await;
    let (node, document) = rig.print().await;
    rig.replica(&node).suffers(Fault::Refuse);
    rig.until("it is down", |rig| {
        rig.upstreams()
            .iter()
            .any(|upstream| upstream.name.as_str() == node && !upstream.eligible)
    })
    .await;
    let answer = rig.get(&document).await;
    assert_eq!(answer.status, 503);
    assert!(
        answer.text().contains("drew this document"),
        "{}",
        answer.text()
    );
    assert!(answer.header("retry-after").is_some());
}

/// "We print as `map`, on the replicas, and one of three documents is a 404."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_upstream_of_a_document_or_an_execution_is_known_whichever_class_a_rule_gives_it() {
    let rig = Plan::replicas(3)
        .with(
            "[[routes]]\npath = \"/pdf/**\"\nmethod = [\"GET\", \"POST\"]\nclass = \"map\"\n\
             [[routes]]\nservice = \"WPS\"\noperation = [\"Execute\", \"GetExecutionStatus\"]\nclass = \"feature\"\n",
        )
        .start()
        .await;
    let (mut printed, mut began) = (Vec::new(), Vec::new());
    for _ in 0..6 {
        printed.push(rig.print().await);
        began.push(rig.begin("gs:Buffer").await);
    }
    for all in [&printed, &began] {
        let first = all[0].0.clone();
        assert!(first.starts_with("slave"), "{all:?}");
        assert!(all.iter().any(|(node, _)| *node != first), "{all:?}");
    }
    for (node, document) in printed.iter().cycle().take(24) {
        let answer = rig.get(document).await;
        assert_eq!((answer.status, answer.served_by()), (200, node.as_str()));
    }
    for (node, status) in began.iter().cycle().take(24) {
        let answer = rig.get(status).await;
        assert!(is_known(&answer), "{}", answer.text());
        assert_eq!(answer.served_by(), node);
    }
}
