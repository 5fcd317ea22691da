//! Tests of the catalog in memory: the events that move its update sequence, and the answers
//! that clients get during a reload.

use std::time::Instant;

use geofront::geosim::{
    Behaviour, Cluster, Flavour, PUBLIC_LAYER, ServiceTime, VANILLA_RELOAD_BUMPS,
};
use geofront::ogc::{PerClass, RequestClass};

use crate::client::{GET_MAP, as_admin, get, start, start_with};
use crate::reloads::{RELOAD, VERY_LONG, in_an_endless_reload};

#[test]
fn a_reloading_instance_answers_wrongly_in_the_shape_of_each_service() {
    in_an_endless_reload(Behaviour::default(), |instance| {
        for (target, status, says) in [
            (GET_MAP, 200, "code=\"LayerNotDefined\""),
            (&GET_MAP.replace("/wms", "/geor/wms"), 404, "Not Found"),
            (
                &GET_MAP.replace("/wms", "/geor/public_layer/ows"),
                404,
                "Not Found",
            ),
            (
                "/geoserver/geor/ows?service=WFS&request=GetCapabilities",
                404,
                "Not Found",
            ),
            (
                "/geoserver/wfs?service=WFS&version=1.1.0&request=GetFeature&typeName=geor:roads",
                200,
                "Feature type geor:roads unknown",
            ),
            (
                "/geoserver/wfs?service=WFS&version=2.0.0&request=GetFeature&typeNames=geor:roads",
                400,
                "Feature type geor:roads unknown",
            ),
            (
                "/geoserver/wcs?service=WCS&version=2.0.1&request=GetCoverage&coverageId=geor__elevation",
                404,
                "NoSuchCoverage",
            ),
            (
                "/geoserver/gwc/service/tms/1.0.0/geor:roads@EPSG:900913@png/2/1/1.png",
                400,
                "Unknown layer geor:roads. Check the logfiles",
            ),
        ] {
            let reply = get(instance, target);
            assert!(
                reply.status == status && reply.text().contains(says),
                "{target}: {reply:?}"
            );
        }
    });
}

/// The probe of the version still answers, with the number from before.
#[test]
fn capabilities_are_valid_and_empty_while_the_catalog_is_read() {
    in_an_endless_reload(Behaviour::default(), |instance| {
        for (target, entry) in [
            (
                "/geoserver/wms?service=WMS&version=1.3.0&request=GetCapabilities",
                "<Layer queryable",
            ),
            (
                "/geoserver/wfs?service=WFS&version=2.0.0&request=GetCapabilities",
                "<FeatureType>",
            ),
            (
                "/geoserver/gwc/service/wmts?request=GetCapabilities",
                "<Layer>",
            ),
        ] {
            let reply = get(instance, target);
            assert!(
                reply.status == 200 && reply.is_well_formed_xml(),
                "{target}: {reply:?}"
            );
            assert!(
                reply.text().contains("updateSequence=\"0\"") && !reply.text().contains(entry),
                "{target}"
            );
        }
    });
}

#[test]
fn a_reloading_instance_answers_wrongly_and_at_once() {
    let mut service_time = PerClass::default();
    service_time[RequestClass::Map] = ServiceTime::Fixed(VERY_LONG);
    in_an_endless_reload(
        Behaviour {
            service_time,
            ..Behaviour::default()
        },
        |instance| {
            let asked = Instant::now();
            let reply = get(instance, GET_MAP);
            assert!(
                reply.status == 200 && reply.text().contains("LayerNotDefined"),
                "{reply:?}"
            );
            assert!(
                asked.elapsed() < VERY_LONG / 3,
                "nothing is rendered from an empty catalog"
            );
        },
    );
}

#[test]
fn a_layer_published_on_one_instance_is_unknown_to_others_until_they_reload() {
    let cluster = Cluster::start(2);
    cluster.main().publish("geor:brand_new");
    let map = GET_MAP.replace("public_layer", "brand_new");
    assert!(get(cluster.main(), &map).is_png());
    for replica in cluster.replicas() {
        assert!(
            get(replica, &map).text().contains("LayerNotDefined") && get(replica, GET_MAP).is_png()
        );
    }
    assert_eq!(as_admin(cluster.replica(1), "POST", RELOAD, "").status, 200);
    assert!(get(cluster.replica(1), &map).is_png());
    assert!(
        get(cluster.replica(2), &map)
            .text()
            .contains("LayerNotDefined")
    );
}

#[test]
fn a_reload_that_fails_answers_500_and_leaves_the_catalog_empty() {
    let main = start();
    main.control().fail_catalog_reloads(1);
    assert_eq!(as_admin(&main, "POST", RELOAD, "").status, 500);
    assert!(get(&main, GET_MAP).text().contains("LayerNotDefined"));
    assert_eq!(as_admin(&main, "POST", RELOAD, "").status, 200);
    assert!(get(&main, GET_MAP).is_png());
}

#[test]
fn publishing_a_layer_moves_the_number_five_to_eight_steps_in_memory_and_in_the_file() {
    let main = start();
    for layer in ["geor:brand_new", "unheard_of:brand_new"] {
        let before = main.update_sequence().unwrap();
        main.publish(layer);
        let after = main.update_sequence().unwrap();
        assert!(
            (5..=8).contains(&(after - before)),
            "{layer}: {before} to {after}"
        );
        assert_eq!(main.data().update_sequence(), after);
    }
}

#[test]
fn by_rest_every_step_of_publishing_moves_the_number() {
    let main = start();
    for (target, body, steps) in [
        ("workspaces", "<workspace><name>new</name></workspace>", 2),
        (
            "workspaces/new/datastores",
            "<dataStore><name>db</name></dataStore>",
            1,
        ),
        (
            "workspaces/new/datastores/db/featuretypes",
            "{\"featureType\": {\"name\": \"lanes\"}}",
            3,
        ),
        ("styles", "<style><name>lanes</name></style>", 2),
    ] {
        let before = main.update_sequence().unwrap();
        assert_eq!(
            as_admin(&main, "POST", &format!("/geoserver/rest/{target}"), body).status,
            201,
            "{target}"
        );
        assert_eq!(main.update_sequence().unwrap() - before, steps, "{target}");
    }
    assert!(get(&main, &GET_MAP.replace(PUBLIC_LAYER, "new:lanes")).is_png());
}

#[test]
fn changes_outside_the_catalog_do_not_move_the_update_sequence_and_settings_do() {
    let main = start();
    for (method, target) in [
        ("PUT", "logging"),
        ("POST", "security/acl/layers"),
        ("POST", "security/acl/catalog/reload"),
        ("PUT", "resource/styles/new.sld"),
        ("POST", "reset"),
        ("PUT", "workspaces/geor/datastores/data/reset"),
    ] {
        assert_eq!(
            as_admin(&main, method, &format!("/geoserver/rest/{target}"), "{}").status,
            200,
            "{target}"
        );
        assert_eq!(main.update_sequence(), Some(0), "{target}");
    }
    assert_eq!(
        as_admin(&main, "PUT", "/geoserver/rest/settings", "{}").status,
        200
    );
    assert_eq!(main.update_sequence(), Some(1));
}

/// The numbers in memory and in the file after three reloads of an instance that published one
/// layer before.
fn numbers_after_reloads(flavour: Flavour) -> [(u64, u64); 3] {
    let main = start_with(Behaviour {
        flavour,
        ..Behaviour::default()
    });
    main.publish("geor:brand_new");
    [(); 3].map(|()| {
        assert_eq!(as_admin(&main, "POST", RELOAD, "").status, 200);
        (
            main.update_sequence().unwrap(),
            main.data().update_sequence(),
        )
    })
}

#[test]
fn a_reload_moves_the_number_of_stock_geoserver_and_not_that_of_georchestra() {
    let (file, bumps) = (6, VANILLA_RELOAD_BUMPS);
    assert_eq!(
        numbers_after_reloads(Flavour::GeOrchestra),
        [(file, file); 3]
    );
    assert_eq!(
        numbers_after_reloads(Flavour::Vanilla),
        [(file + bumps, file); 3]
    );
}

/// Why an incron job that reloads whenever the file changes never ends.
#[test]
fn a_stock_geoserver_that_writes_the_number_back_moves_the_file_at_every_reload() {
    let rising = [1, 2, 3].map(|reloads| 6 + reloads * VANILLA_RELOAD_BUMPS);
    assert_eq!(
        numbers_after_reloads(Flavour::VanillaRewriting),
        rising.map(|number| (number, number))
    );
}
