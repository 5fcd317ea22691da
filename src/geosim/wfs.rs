//! WFS: features, descriptions, transactions and locks.

use std::borrow::Cow;

use super::answer::Answer;
use super::data_directory::{Contents, LayerKind};
use super::dispatch::OwsCall;
use super::exception::{Dialect, ServiceException, escape};
use super::features::{Collection, Encoding};
use super::life::Life;
use super::ows::no_such_operation;
use super::request::Request;
use super::wfs_capabilities;
use super::wms::find_layer;
use super::xml;

/// `maxFeatures` of the default data directory.
const MAX_FEATURES: u64 = 1_000_000;

pub(super) fn answer(life: &Life, request: &Request, call: &OwsCall<'_>) -> Answer {
    let answered = match () {
        () if call.requests("GetCapabilities") => Ok(wfs_capabilities::answer(life, request, call)),
        () if call.requests("GetFeature") || call.requests("GetPropertyValue") => {
            features(life, call, None)
        }
        () if call.requests("GetFeatureWithLock") => {
            lock(life, request, call).and_then(|lock| features(life, call, Some(lock)))
        }
        () if call.requests("LockFeature") => lock(life, request, call).map(|lock| locked(&lock)),
        () if call.requests("ReleaseLock") => Ok(release(life, request, call)),
        () if call.requests("DescribeFeatureType") => describe(life, call),
        () if call.requests("Transaction") => transaction(life, request, call),
        () if call.requests("ListStoredQueries") || call.requests("DescribeStoredQueries") => {
            Ok(stored_queries(call))
        }
        () if call.requests("CreateStoredQuery") || call.requests("DropStoredQuery") => {
            Ok(stored_query_changed(life, request, call))
        }
        () => Ok(no_such_operation(call)),
    };
    answered.unwrap_or_else(|exception| exception.answer(call.dialect, &call.kvp))
}

/// The requested feature type, from the query or the body.
fn requested_type<'a>(call: &OwsCall<'a>) -> Option<Cow<'a, str>> {
    call.kvp
        .get("typenames")
        .or_else(|| call.kvp.get("typename"))
        .or_else(|| xml::first_attribute(call.body, &["typeNames", "typeName"]).map(Cow::Owned))
        .or_else(|| call.scope.layer.map(Cow::Borrowed))
}

fn find_type(
    contents: &Contents,
    call: &OwsCall<'_>,
    requested: &str,
) -> Result<String, ServiceException> {
    let name = find_layer(contents, call.scope, requested)
        .map_err(|_| ServiceException::unknown_feature_type(requested))?;
    match contents.layers.get(&name).map(|layer| layer.kind) {
        Some(LayerKind::Vector { .. }) => Ok(name),
        Some(LayerKind::Raster) | None => Err(ServiceException::unknown_feature_type(requested)),
    }
}

fn features(
    life: &Life,
    call: &OwsCall<'_>,
    lock: Option<String>,
) -> Result<Answer, ServiceException> {
    let contents = life.catalog().contents;
    let requested = requested_type(call).ok_or_else(|| {
        ServiceException::new(
            "MissingParameterValue",
            "typeName",
            "The query should specify either typeName, featureId or a stored query",
        )
    })?;
    let name = find_type(&contents, call, &requested)?;
    let matched = contents
        .layers
        .get(&name)
        .map_or(0, |layer| life.data.features_of(&name, layer));
    let start = requested_number(call, &["startindex"], &["startIndex"])
        .unwrap_or(0)
        .min(matched);
    let limit = requested_number(call, &["count", "maxfeatures"], &["count", "maxFeatures"])
        .unwrap_or(MAX_FEATURES);
    let hits_only = call.kvp.is("resulttype", "hits");
    let returned = if hits_only {
        0
    } else {
        limit.min(MAX_FEATURES).min(matched - start)
    };
    let encoding = requested_encoding(call);
    let collection = Collection::new(&name, matched, start, returned, lock, encoding);
    Ok(Answer::stream(encoding.content_type(), collection).with(
        "Content-Disposition",
        format!("inline; filename=features.{}", encoding.extension()),
    ))
}

fn requested_number(call: &OwsCall<'_>, keys: &[&str], attributes: &[&str]) -> Option<u64> {
    let in_query = keys
        .iter()
        .find_map(|key| call.kvp.get(key))
        .map(Cow::into_owned);
    in_query
        .or_else(|| xml::first_attribute(call.body, attributes))?
        .parse()
        .ok()
}

fn requested_encoding(call: &OwsCall<'_>) -> Encoding {
    let requested = call
        .kvp
        .get("outputformat")
        .or_else(|| xml::first_attribute(call.body, &["outputFormat"]).map(Cow::Owned))
        .unwrap_or_default();
    match call.dialect {
        _ if requested.contains("json") => Encoding::GeoJson,
        Dialect::Wfs10 => Encoding::Gml2,
        Dialect::Wfs11 => Encoding::Gml31,
        _ => Encoding::Gml32,
    }
}

fn describe(life: &Life, call: &OwsCall<'_>) -> Result<Answer, ServiceException> {
    let contents = life.catalog().contents;
    let names: Vec<String> = match requested_type(call) {
        Some(requested) => (requested.split(','))
            .map(|name| find_type(&contents, call, name))
            .collect::<Result<_, _>>()?,
        None => (contents.layers.iter())
            .filter(|(_, layer)| matches!(layer.kind, LayerKind::Vector { .. }))
            .map(|(name, _)| name.clone())
            .collect(),
    };
    let gml = match call.dialect {
        Dialect::Wfs10 | Dialect::Wfs11 => Gml {
            namespace: "http://www.opengis.net/gml",
            feature: "gml:_Feature",
        },
        _ => Gml {
            namespace: "http://www.opengis.net/gml/3.2",
            feature: "gml:AbstractFeature",
        },
    };
    let Some(workspace) = names.first().and_then(|name| name.split(':').next()) else {
        return Err(ServiceException::unknown_feature_type(""));
    };
    let workspace = escape(workspace);
    let types: String = names.iter().map(|name| type_of(name, &gml)).collect();
    let schema = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><xsd:schema xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" \
         xmlns:gml=\"{gml}\" xmlns:{workspace}=\"http://localhost/{workspace}\" elementFormDefault=\"qualified\" \
         targetNamespace=\"http://localhost/{workspace}\">\n<xsd:import namespace=\"{gml}\"/>\n{types}</xsd:schema>\n",
        gml = gml.namespace
    );
    let kind = match call.dialect {
        Dialect::Wfs10 => "text/xml",
        Dialect::Wfs11 => "text/xml; subtype=gml/3.1.1",
        _ => "application/gml+xml; version=3.2",
    };
    Ok(Answer::ok(kind, schema))
}

/// How a version of GML is named in a schema.
struct Gml {
    namespace: &'static str,
    feature: &'static str,
}

/// The type of a layer's features, with the properties that [`super::features`] writes.
fn type_of(name: &str, gml: &Gml) -> String {
    let (workspace, short) = name.split_once(':').unwrap_or_default();
    let (workspace, short) = (escape(workspace), escape(short));
    let feature = gml.feature;
    format!(
        "<xsd:complexType name=\"{short}Type\"><xsd:complexContent><xsd:extension base=\"gml:AbstractFeatureType\"><xsd:sequence>\
         <xsd:element maxOccurs=\"1\" minOccurs=\"0\" name=\"the_geom\" nillable=\"true\" type=\"gml:PointPropertyType\"/>\
         <xsd:element maxOccurs=\"1\" minOccurs=\"0\" name=\"number\" nillable=\"true\" type=\"xsd:long\"/>\
         </xsd:sequence></xsd:extension></xsd:complexContent></xsd:complexType>\n\
         <xsd:element name=\"{short}\" substitutionGroup=\"{feature}\" type=\"{workspace}:{short}Type\"/>\n"
    )
}

/// Executes once, and records that in [`super::DataDirectory::writes`] before it answers.
fn transaction(
    life: &Life,
    request: &Request,
    call: &OwsCall<'_>,
) -> Result<Answer, ServiceException> {
    if let Some(lock) = lock_named(call)
        && !life.feature_locks.holds(&lock)
    {
        return Err(unknown_lock());
    }
    let contents = life.catalog().contents;
    let inserted = xml::children_of(call.body, "Insert");
    let mut results = String::new();
    for name in &inserted {
        let qualified = find_type(&contents, call, name)?;
        let number = life.data.insert_feature(&qualified);
        let id = escape(name).into_owned() + &format!(".new-{number}");
        results += &match call.dialect {
            Dialect::Wfs10 | Dialect::Wfs11 => format!(
                "<wfs:Feature><ogc:FeatureId xmlns:ogc=\"http://www.opengis.net/ogc\" fid=\"{id}\"/></wfs:Feature>"
            ),
            _ => format!(
                "<wfs:Feature><fes:ResourceId xmlns:fes=\"http://www.opengis.net/fes/2.0\" rid=\"{id}\"/></wfs:Feature>"
            ),
        };
    }
    life.truncate_changed_tiles();
    life.note_write("Transaction", request);
    let count = inserted.len();
    Ok(Answer::ok(
        "application/xml",
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><wfs:TransactionResponse version=\"{}\" \
             xmlns:wfs=\"http://www.opengis.net/wfs\"><wfs:TransactionSummary><wfs:totalInserted>{count}</wfs:totalInserted>\
             <wfs:totalUpdated>0</wfs:totalUpdated><wfs:totalDeleted>0</wfs:totalDeleted></wfs:TransactionSummary>\
             <wfs:InsertResults>{results}</wfs:InsertResults></wfs:TransactionResponse>",
            call.dialect.version()
        ),
    ))
}

fn lock_named<'a>(call: &OwsCall<'a>) -> Option<Cow<'a, str>> {
    call.kvp
        .get("lockid")
        .or_else(|| xml::first_attribute(call.body, &["lockId"]).map(Cow::Owned))
        .or_else(|| xml::first_text(call.body, "LockId").map(Cow::Owned))
}

fn unknown_lock() -> ServiceException {
    ServiceException::new(
        "InvalidParameterValue",
        "lockId",
        "Attempting to use a lockID that does not exist, it has either expired or was entered wrong.",
    )
}

fn lock(life: &Life, request: &Request, call: &OwsCall<'_>) -> Result<String, ServiceException> {
    let requested = requested_type(call).ok_or_else(|| {
        ServiceException::new(
            "MissingParameterValue",
            "typeName",
            "A typename must be specified",
        )
    })?;
    find_type(&life.catalog().contents, call, &requested)?;
    life.note_write("LockFeature", request);
    let minutes = requested_number(call, &["expiry"], &["expiry"]).unwrap_or(5);
    Ok(life.feature_locks.take(life.controls.dice.draw(), minutes))
}

fn locked(lock: &str) -> Answer {
    Answer::ok(
        "application/xml",
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><wfs:LockFeatureResponse xmlns:wfs=\"http://www.opengis.net/wfs\" \
             lockId=\"{lock}\"><wfs:LockId>{lock}</wfs:LockId></wfs:LockFeatureResponse>"
        ),
    )
}

fn release(life: &Life, request: &Request, call: &OwsCall<'_>) -> Answer {
    match lock_named(call) {
        Some(lock) if life.feature_locks.release(&lock) => {
            life.note_write("ReleaseLock", request);
            Answer::ok(
                "application/xml",
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?><wfs:ReleaseLockResponse xmlns:wfs=\"http://www.opengis.net/wfs\"/>",
            )
        }
        _ => unknown_lock().answer(call.dialect, &call.kvp),
    }
}

const STORED_QUERY: &str = "urn:ogc:def:query:OGC-WFS::GetFeatureById";

fn stored_queries(call: &OwsCall<'_>) -> Answer {
    let root = if call.requests("ListStoredQueries") {
        "ListStoredQueriesResponse"
    } else {
        "DescribeStoredQueriesResponse"
    };
    Answer::ok(
        "application/xml",
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><wfs:{root} xmlns:wfs=\"http://www.opengis.net/wfs/2.0\">\
             <wfs:StoredQuery id=\"{STORED_QUERY}\"/></wfs:{root}>"
        ),
    )
}

fn stored_query_changed(life: &Life, request: &Request, call: &OwsCall<'_>) -> Answer {
    life.note_write(&call.operation, request);
    Answer::ok(
        "application/xml",
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><wfs:{}Response xmlns:wfs=\"http://www.opengis.net/wfs/2.0\" status=\"OK\"/>",
            escape(&call.operation)
        ),
    )
}
