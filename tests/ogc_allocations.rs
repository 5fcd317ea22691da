//! Classifying a request as map clients send them allocates nothing.

use std::path::Path;

use allocation_counter::measure;
use geofront::config::{Config, MapEnvironment, RouteRule, Sender};
use geofront::ogc::{
    RequestClass, RequestHead, RuleSubject, body_need, classify, error_shape, metatile,
};

const USUAL: [(&str, RequestClass); 11] = [
    (
        "/geoserver/wms?service=WMS&version=1.1.1&request=GetMap&layers=geor:roads&styles=&bbox=-180,-90,180,90&width=768&height=330\
         &srs=EPSG:4326&format=image/png",
        RequestClass::Map,
    ),
    (
        "/geoserver/geor/wms?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetMap&FORMAT=image%2Fpng&TRANSPARENT=true&LAYERS=geor%3Aroads\
         &TILED=true&STYLES=&WIDTH=256&HEIGHT=256&CRS=EPSG%3A3857&BBOX=626172.13%2C6261721.35%2C939258.20%2C6574807.42",
        RequestClass::Tile,
    ),
    (
        "/geoserver/gwc/service/tms/1.0.0/geor%3Aroads@EPSG%3A900913@png/10/512/600.png",
        RequestClass::Tile,
    ),
    (
        "/geoserver/gwc/service/wmts?layer=geor%3Aroads&tilematrixset=EPSG%3A900913&Service=WMTS&Request=GetTile&Version=1.0.0",
        RequestClass::Tile,
    ),
    (
        "/geoserver/wfs?service=WFS&version=2.0.0&request=GetFeature&typeNames=geor%3Aroads&count=10",
        RequestClass::Feature,
    ),
    (
        "/geoserver/wfs/Get%46eature?typeName=geor%3Aroads&cql_filter=name+%3D+%27a%27",
        RequestClass::Feature,
    ),
    (
        "/geoserver//re%73t;x/workspaces/../workspaces.json",
        RequestClass::Admin,
    ),
    (
        "/geoserver/web/wicket/page?7-1.IFormSubmitListener-form",
        RequestClass::Ui,
    ),
    (
        "/geoserver/wms?service=WMS&request=GetMap&layers=a&%E5%8F%82%E6%95%B0=1",
        RequestClass::Map,
    ),
    (
        "/geoserver/ogc/features/v1/collections/geor:roads/items?limit=10&f=json",
        RequestClass::Feature,
    ),
    (
        "/geoserver/gsr/services/topp/MapServer/export?bbox=-130,24,-66,50&f=image",
        RequestClass::Map,
    ),
];

#[test]
fn a_usual_request_is_classified_without_an_allocation() {
    for (target, class) in USUAL {
        let head = RequestHead {
            method: "GET",
            target: target.as_bytes(),
            content_type: None,
        };
        let mut found = None;
        let counted = measure(|| {
            let classified = classify(&head, "/geoserver", Some(b""));
            found = Some((
                classified.class,
                body_need(&head, "/geoserver"),
                error_shape(&classified, &head),
            ));
        });
        assert_eq!(counted.count_total, 0, "{target}");
        assert_eq!(found.map(|(class, _, _)| class), Some(class), "{target}");
    }
}

#[test]
fn a_form_is_classified_without_an_allocation() {
    let content_type = Some("application/x-www-form-urlencoded; charset=UTF-8");
    let head = RequestHead {
        method: "POST",
        target: b"/geoserver/wms",
        content_type,
    };
    let counted = measure(|| {
        let classified = classify(
            &head,
            "/geoserver",
            Some(b"SERVICE=WMS&REQUEST=GetMap&LAYERS=geor%3Aroads"),
        );
        assert_eq!(classified.class, RequestClass::Map);
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn the_layer_of_a_usual_request_is_found_without_an_allocation() {
    let target = b"/geoserver/wms?service=WMS&request=GetMap&layers=geor:roads";
    let classified = classify(
        &RequestHead {
            method: "GET",
            target,
            content_type: None,
        },
        "/geoserver",
        None,
    );
    let counted = measure(|| assert_eq!(classified.layer(target).as_deref(), Some("geor:roads")));
    assert_eq!(counted.count_total, 0);
}

#[test]
fn the_metatile_of_a_tile_is_found_without_an_allocation() {
    for (target, _) in USUAL
        .iter()
        .filter(|(_, class)| *class == RequestClass::Tile)
    {
        let head = RequestHead {
            method: "GET",
            target: target.as_bytes(),
            content_type: None,
        };
        let mut found = None;
        let counted = measure(|| found = metatile(&head, "/geoserver"));
        assert_eq!(counted.count_total, 0, "{target}");
        assert!(
            found.is_some() || !target.contains("BBOX") && !target.contains("tms"),
            "{target}"
        );
    }
}

#[test]
fn a_usual_request_is_compared_with_rules_without_an_allocation() {
    let rules = "[upstreams.main]\nurl = 'http://10.0.0.1'\nrole = 'main'\n[upstreams.a]\nurl = 'http://10.0.0.2'\n\
        [[routes]]\nservice = 'WPS'\nrefuse = true\n\
        [[routes]]\nservice = 'WFS'\noperation = 'Transaction'\nrefuse = true\n\
        [[routes]]\npath = ['/rest/**', '/*/rest/**']\nnot_from = '10.0.0.0/8'\nrefuse = true\n\
        [[routes]]\nheader = 'X-Team: maps*'\nupstreams = 'a'\n\
        [[routes]]\nlayer = 'topp:*'\nupstreams = 'a'\n\
        [[routes]]\nworkspace = 'geo*'\nupstreams = 'a'\n";
    let environment = MapEnvironment::new().file("f", rules);
    let config = Config::load(Path::new("f"), &environment).unwrap().config;
    let mut followed = 0;
    // Dots in the path have several readings.
    let plain = USUAL.iter().filter(|(target, _)| !target.contains(".."));
    for (target, _) in plain {
        let head = RequestHead {
            method: "GET",
            target: target.as_bytes(),
            content_type: None,
        };
        let classified = classify(&head, "/geoserver", None);
        let counted = measure(|| {
            let subject = RuleSubject::new(head, "/geoserver", None, &classified);
            let sender = Sender {
                address: [192, 0, 2, 7].into(),
                has_header: &|_| false,
            };
            followed += usize::from(RouteRule::first(&config.routes, &subject, &sender).is_some());
        });
        assert_eq!(counted.count_total, 0, "{target}");
    }
    assert!(followed >= 4, "{followed}");
}

#[test]
fn allocations_are_counted_at_all() {
    assert_eq!(
        measure(|| drop(std::hint::black_box(vec![0_u8; 100]))).count_total,
        1
    );
}
