//! The output of the demo: its addresses, and commands to try.

use std::net::SocketAddr;

use super::simulated_cluster::{RELOAD_TIME, SimulatedCluster};
use crate::geosim::{Instance, PASSWORD, USER};

/// Where the demo listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub front: SocketAddr,
    pub admin: SocketAddr,
    pub map: SocketAddr,
    /// The naive balancer.
    pub naive: SocketAddr,
}

/// Suggestions to try, with the bound ports.
pub(super) fn instructions(at: Addresses, cluster: &SimulatedCluster) -> String {
    let Addresses {
        front,
        admin,
        map: page,
        naive,
    } = at;
    let replica = cluster.replicas().next().unwrap_or(&cluster.main);
    let (name, replica) = (replica.name(), Instance::address(replica));
    let map = "service=WMS&version=1.1.1&request=GetMap&styles=&format=image/png&srs=EPSG:4326&bbox=-180,-90,180,90";
    format!(
        "\
geofront demo: one main and {count} simulated GeoServers behind a real front door.

  the map, with a tour http://{page}/        (start here, in a browser)
  clients come in at   http://{front}/geoserver/
  status page          http://{admin}/
  plain round robin    http://{naive}/geoserver/    (the same GeoServers behind a naive balancer, for comparison)

Or try, in another terminal:

  a map, drawn by a different replica each time (the header X-Geosim names it):
    curl -sD- -o map.png \"http://{front}/geoserver/wms?{map}&layers=geor:public_layer&width=400&height=200\"

  publish a layer on the main, through the front door. The replicas do not know it yet; each is taken out of service, reloaded
  (here it takes {reload} s) and put back in, one at a time, and no client gets a wrong answer meanwhile:
    curl -u {USER}:{PASSWORD} -H 'Content-Type: application/json' -d '{{\"featureType\":{{\"name\":\"parcels\"}}}}' \\
      http://{front}/geoserver/rest/workspaces/geor/datastores/cadastre/featuretypes
    geofront status --watch --admin {admin}
    curl -sD- -o parcels.png \"http://{front}/geoserver/wms?{map}&layers=geor:parcels&width=400&height=200\"

  reload them all after a change that GeoServer does not count (for example a style edited on disk), and see each step:
    geofront sync --wait --admin {admin}

  break {name}: it answers \"200 OK\" with OutOfMemoryError, and no client notices:
    curl -X POST \"http://{replica}/geosim/fault?kind=oom\"

  see that it is set aside, and why:
    geofront status --admin {admin}

  heal it:
    curl -X POST \"http://{replica}/geosim/heal\"

  take it out for a restart, without an error for anyone, and back in:
    geofront drain {name} --wait --admin {admin}
    geofront ready {name} --admin {admin}

Ctrl-C ends it; nothing is left behind.
",
        count = cluster.replicas().count(),
        reload = RELOAD_TIME.as_secs(),
    )
}
