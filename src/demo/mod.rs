//! A simulated GeoServer cluster behind a real front door, in one process.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::app::{self, App, StartError};
use crate::config::MapEnvironment;
use crate::geosim::{Behaviour, DataDirectory, Instance, PASSWORD, USER};

/// The configuration exists in memory only.
const FILE: &str = "/demo/geofront.toml";

/// Long enough to be seen, short enough to wait for.
const RELOAD_TIME: Duration = Duration::from_secs(3);

/// The variable with the password of the simulated GeoServers.
const PASSWORD_VARIABLE: &str = "GEOSERVER_PASSWORD";

/// The size and addresses of the demo.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub replicas: u16,
    pub listen: SocketAddr,
    pub admin: SocketAddr,
}

/// A running demo.
pub struct Demo {
    pub app: App,
    pub main: Instance,
    pub replicas: Vec<Instance>,
}

/// Starts the instances and the front door before them.
pub async fn start(options: Options) -> Result<Demo, StartError> {
    let data = DataDirectory::new();
    let behaviour = Behaviour {
        control_url: true,
        reload_time: RELOAD_TIME,
        ..Behaviour::default()
    };
    let instance = |name: &str| Instance::start(name, &data, behaviour.clone());
    let main = instance("main");
    let replicas: Vec<Instance> = (1..=options.replicas)
        .map(|number| instance(&format!("slave{number}")))
        .collect();
    let environment = MapEnvironment::new()
        .file(FILE, configuration(options, &main, &replicas))
        .environment_variable(PASSWORD_VARIABLE, PASSWORD);
    let app = app::start(Path::new(FILE), Arc::new(environment)).await?;
    Ok(Demo {
        app,
        main,
        replicas,
    })
}

fn configuration(options: Options, main: &Instance, replicas: &[Instance]) -> String {
    let mut text = format!(
        "listen = [\"{}\"]\nadmin = \"{}\"\n",
        options.listen, options.admin
    );
    for (instance, role) in replicas
        .iter()
        .map(|replica| (replica, "replica"))
        .chain([(main, "main")])
    {
        text += &format!(
            "[upstreams.{}]\nurl = \"http://{}\"\nrole = \"{role}\"\n",
            instance.name(),
            instance.address()
        );
    }
    text +=
        &format!("[geoserver]\nusername = \"{USER}\"\npassword_env = \"{PASSWORD_VARIABLE}\"\n");
    text += "[health]\ninterval = \"1s\"\nprobe_layer = \"geor:public_layer\"\nejection = \"5s\"\nslow_start = \"5s\"\n";
    text + "[catalog]\npoll = \"2s\"\nsettle = \"1s\"\n[log]\naccess = \"off\"\n"
}

impl Demo {
    /// Suggestions to try, with the bound ports.
    pub fn instructions(&self) -> String {
        let (front, admin) = (self.app.listen[0], self.app.admin);
        let replica = self
            .replicas
            .first()
            .map_or_else(|| self.main.address(), Instance::address);
        let name = self.replicas.first().map_or("main", Instance::name);
        let map = "service=WMS&version=1.1.1&request=GetMap&styles=&format=image/png&srs=EPSG:4326&bbox=-180,-90,180,90";
        format!(
            "\
geofront demo: one main and {count} simulated GeoServers behind a real front door.

  clients come in at   http://{front}/geoserver/
  status page          http://{admin}/        (leave it open while you try what follows)

Try, in another terminal:

  a map, drawn by a different replica each time (the header X-Geosim says by which):
    curl -sD- -o map.png \"http://{front}/geoserver/wms?{map}&layers=geor:public_layer&width=400&height=200\"

  publish a layer on the main, through the front door. The replicas do not know it yet; each is taken out of service, reloaded
  (here it takes {reload} s) and put back in, one at a time, and no client gets a wrong answer meanwhile:
    curl -u {USER}:{PASSWORD} -H 'Content-Type: application/json' -d '{{\"featureType\":{{\"name\":\"parcels\"}}}}' \\
      http://{front}/geoserver/rest/workspaces/geor/datastores/cadastre/featuretypes
    geofront status --watch --admin {admin}
    curl -sD- -o parcels.png \"http://{front}/geoserver/wms?{map}&layers=geor:parcels&width=400&height=200\"

  reload them all after a change that GeoServer does not count (a style edited on disk, say), and be told of each step:
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
            count = self.replicas.len(),
            reload = RELOAD_TIME.as_secs(),
        )
    }
}
