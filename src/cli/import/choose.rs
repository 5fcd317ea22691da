//! Decides which servers of an old balancer are the main and the replicas of one cluster.

use super::balancer::{OldBalancer, OldPool, OldRoute, OldServer, RemarkVerdict, RoutePurpose};

/// Choices of the operator, for files that leave them open.
#[derive(Clone, Debug, Default)]
pub(super) struct Choices {
    /// Name or address of the server that is the main.
    pub(super) main: Option<String>,
    /// Name of the group that serves requests.
    pub(super) pool: Option<String>,
}

/// The cluster of the file.
#[derive(Clone, Debug)]
pub(super) struct ChosenCluster {
    pub(super) main: OldServer,
    /// The line of the rule that sends administration to the main.
    pub(super) main_line: Option<usize>,
    /// The line of the main in the group that serves requests, if it is there.
    pub(super) main_reads: Option<usize>,
    /// Disabled servers included.
    pub(super) replicas: Vec<OldServer>,
    /// The path that GeoServer is installed under, if the file shows another than `/geoserver`.
    pub(super) context: Option<String>,
    /// The names of all groups with one of these servers.
    pub(super) pools: Vec<String>,
}

/// The reason why a file shows no cluster, and the remedy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoCluster {
    pub(super) why: String,
    pub(super) help: String,
}

fn no_cluster(why: impl Into<String>, help: impl Into<String>) -> NoCluster {
    NoCluster {
        why: why.into(),
        help: help.into(),
    }
}

/// The cluster, as far as rules, groups and the operator's choices show it.
pub(super) fn choose(
    balancer: &mut OldBalancer,
    choices: &Choices,
) -> Result<ChosenCluster, NoCluster> {
    let routes = routes(balancer);
    let mut reads = reading_pools(balancer, &routes, choices)?;
    let main = main_server(balancer, &routes, &reads, choices)?;
    // A group that holds nothing but the main serves administration, not requests.
    let is_only_main = |pool: &OldPool| pool.servers.iter().all(|server| is_same(server, &main));
    if reads.len() > 1 {
        reads.retain(|name| {
            !balancer
                .pools
                .iter()
                .any(|p| &p.name == name && is_only_main(p))
        });
    }
    let mut replicas: Vec<OldServer> = Vec::new();
    let mut main_reads = None;
    for server in servers_of(balancer, &reads) {
        if is_same(&server, &main) {
            if !server.is_backup && !server.is_disabled {
                main_reads = main_reads.or(Some(server.line));
            }
        } else if !replicas.iter().any(|known| is_same(known, &server)) {
            replicas.push(server);
        }
    }
    if !replicas.iter().any(|replica| !replica.is_disabled) {
        return Err(no_cluster(
            format!("it names one GeoServer only, {}", main.address),
            "geofront needs a main and at least one replica: write the two by hand, as in docs/configuration.md",
        ));
    }
    let mut pools = reads.clone();
    pools.extend(
        balancer
            .pools
            .iter()
            .filter(|pool| !reads.contains(&pool.name))
            .filter(|pool| pool.servers.iter().any(|server| is_same(server, &main)))
            .map(|pool| pool.name.clone()),
    );
    let mut shown: Vec<OldServer> = replicas.clone();
    shown.push(main.clone());
    remark_on_others(balancer, &routes, &pools, &shown, main_reads);
    let context = routes
        .iter()
        .filter(|route| pools.contains(&route.pool))
        .find_map(|route| route.context.clone());
    let leads_to_main = |route: &&OldRoute| {
        route.purpose == RoutePurpose::Administration
            && servers_of(balancer, std::slice::from_ref(&route.pool))
                .iter()
                .any(|server| is_same(server, &main))
    };
    let main_line = routes.iter().find(leads_to_main).map(|route| route.line);
    Ok(ChosenCluster {
        main_line,
        main,
        main_reads,
        replicas,
        context: context.filter(|context| context != "/geoserver"),
        pools,
    })
}

/// The rules that lead to a group. A file without rules is a part of one, and its groups serve
/// everything.
fn routes(balancer: &OldBalancer) -> Vec<OldRoute> {
    if !balancer.routes.is_empty() {
        return balancer.routes.clone();
    }
    let everything = |pool: &OldPool| OldRoute {
        line: pool.line,
        pool: pool.name.clone(),
        purpose: RoutePurpose::Everything,
        context: None,
    };
    balancer.pools.iter().map(everything).collect()
}

/// The names of the groups that serve GeoServer's requests.
fn reading_pools(
    balancer: &OldBalancer,
    routes: &[OldRoute],
    choices: &Choices,
) -> Result<Vec<String>, NoCluster> {
    if balancer.pools.iter().all(|pool| pool.servers.is_empty()) {
        return Err(no_cluster(
            "it names no server with an address",
            "name the file with the servers: `backend` of HAProxy, `upstream` of nginx, `BalancerMember` of Apache. \
             Files that it includes are not read (for nginx: `nginx -T > all.conf`)",
        ));
    }
    if let Some(wanted) = &choices.pool {
        return match balancer.pools.iter().find(|pool| &pool.name == wanted) {
            Some(pool) => Ok(vec![pool.name.clone()]),
            None => Err(no_cluster(
                format!("it has no group `{wanted}`"),
                format!("its groups are: {}", named_pools(balancer)),
            )),
        };
    }
    let with = |purpose: RoutePurpose| {
        let mut found: Vec<&OldRoute> = Vec::new();
        for route in routes.iter().filter(|route| route.purpose == purpose) {
            let has_servers = balancer
                .pools
                .iter()
                .any(|pool| pool.name == route.pool && !pool.servers.is_empty());
            if has_servers && found.iter().all(|known| known.pool != route.pool) {
                found.push(route);
            }
        }
        found
    };
    let (own, all) = (
        with(RoutePurpose::GeoServer),
        with(RoutePurpose::Everything),
    );
    let has_administration = !with(RoutePurpose::Administration).is_empty();
    let is_of_several = |pool: &str| {
        let servers = balancer.pools.iter().find(|p| p.name == pool);
        servers.is_some_and(|pool| pool.servers.len() > 1)
    };
    // If a rule leads `/geoserver` to the cluster, a rule for everything else is for another
    // application, unless it leads to the one server that is left for administration.
    let is_own = own.iter().any(|route| is_of_several(&route.pool))
        || all.is_empty()
        || has_administration && !own.is_empty();
    let chosen = if is_own { own } else { all };
    let contexts: Vec<&String> = chosen.iter().filter_map(|r| r.context.as_ref()).collect();
    let is_one = contexts.windows(2).all(|pair| pair[0] == pair[1]);
    let of_several = chosen
        .iter()
        .filter(|route| is_of_several(&route.pool))
        .count();
    let is_everything = chosen
        .iter()
        .any(|route| route.purpose == RoutePurpose::Everything);
    if !is_one || of_several > 1 && is_everything {
        let lines: Vec<String> = chosen
            .iter()
            .map(|route| format!("`{}` (line {})", route.pool, route.line))
            .collect();
        return Err(no_cluster(
            format!(
                "it has several groups that may be the cluster: {}",
                lines.join(", ")
            ),
            "geofront serves one cluster: choose the group with --pool NAME",
        ));
    }
    if chosen.is_empty() {
        return Err(no_cluster(
            "no rule leads to a group of servers for GeoServer",
            format!(
                "choose the group with --pool NAME; its groups are: {}",
                named_pools(balancer)
            ),
        ));
    }
    Ok(chosen.into_iter().map(|route| route.pool.clone()).collect())
}

/// The server for administration.
fn main_server(
    balancer: &OldBalancer,
    routes: &[OldRoute],
    reads: &[String],
    choices: &Choices,
) -> Result<OldServer, NoCluster> {
    let all: Vec<OldServer> = balancer
        .pools
        .iter()
        .flat_map(|pool| pool.servers.clone())
        .collect();
    let named = || {
        let names: Vec<String> = servers_of(balancer, reads).iter().map(shown).collect();
        names.join(", ")
    };
    if let Some(wanted) = &choices.main {
        let found = all
            .iter()
            .find(|server| server.name.as_ref() == Some(wanted) || &server.address == wanted);
        return found.cloned().ok_or_else(|| {
            no_cluster(
                format!("it has no server `{wanted}`"),
                format!("its servers are: {}", named()),
            )
        });
    }
    // A group that serves everything, administration included, does not show the main.
    let administrating = routes.iter().filter(|route| {
        route.purpose == RoutePurpose::Administration
            && (!reads.contains(&route.pool) || reads.len() > 1)
    });
    let mut candidates: Vec<OldServer> = Vec::new();
    for route in administrating {
        for server in servers_of(balancer, std::slice::from_ref(&route.pool)) {
            let is_active = !server.is_backup && !server.is_disabled;
            if is_active && !candidates.iter().any(|known| is_same(known, &server)) {
                candidates.push(server);
            }
        }
    }
    if candidates.is_empty() {
        candidates = only_server_of_another_pool(balancer, routes, reads);
    }
    match candidates.as_slice() {
        [main] => Ok(main.clone()),
        [] => Err(no_cluster(
            "no rule sends the web interface and REST (/geoserver/web, /geoserver/rest) to one server, so the main is unknown",
            format!(
                "choose the server that you administer with --main NAME; the servers are: {}",
                named()
            ),
        )),
        several => {
            let names: Vec<String> = several.iter().map(shown).collect();
            Err(no_cluster(
                format!(
                    "it sends administration to several servers: {}",
                    names.join(", ")
                ),
                "two servers that write to one data directory undo each other's changes: choose one with --main NAME",
            ))
        }
    }
}

/// Returns the one server of a group that serves no requests: the group is left for administration.
fn only_server_of_another_pool(
    balancer: &OldBalancer,
    routes: &[OldRoute],
    reads: &[String],
) -> Vec<OldServer> {
    let is_single = |name: &String| servers_of(balancer, std::slice::from_ref(name)).len() == 1;
    let others = routes.iter().filter(|route| {
        route.purpose != RoutePurpose::OtherApplication
            && is_single(&route.pool)
            && (!reads.contains(&route.pool) || reads.len() > 1)
    });
    let mut found: Vec<OldServer> = Vec::new();
    for route in others {
        for server in servers_of(balancer, std::slice::from_ref(&route.pool)) {
            if !found.iter().any(|known| is_same(known, &server)) {
                found.push(server);
            }
        }
    }
    found
}

/// Notes the groups and servers that are not part of the cluster.
fn remark_on_others(
    balancer: &mut OldBalancer,
    routes: &[OldRoute],
    pools: &[String],
    shown_servers: &[OldServer],
    main_reads: Option<usize>,
) {
    let mut found = Vec::new();
    for pool in &balancer.pools {
        if !pools.contains(&pool.name) {
            let is_routed = routes.iter().any(|route| route.pool == pool.name);
            let why = if is_routed {
                "another application: geofront serves GeoServer only, so its requests need another way"
            } else {
                "no rule leads there"
            };
            found.push((
                pool.line,
                format!("group {}", pool.name),
                RemarkVerdict::open(why),
            ));
            let of_group = format!("belongs to the group {} of line {}", pool.name, pool.line);
            for server in pool
                .servers
                .iter()
                .filter(|server| server.line != pool.line)
            {
                let text = format!("server {}", shown(server));
                found.push((server.line, text, RemarkVerdict::not_needed(&of_group)));
            }
            continue;
        }
        for server in &pool.servers {
            let twin = shown_servers.iter().find(|twin| is_same(twin, server));
            if let Some(twin) = twin {
                if twin.line != server.line && main_reads != Some(server.line) {
                    let why = format!("the same server as in line {}", twin.line);
                    let text = format!("server {}", shown(server));
                    found.push((server.line, text, RemarkVerdict::not_needed(why)));
                }
            } else {
                found.push((
                    server.line,
                    format!("server {}", shown(server)),
                    RemarkVerdict::open("not part of the cluster: there is one main, and it is not in the group that serves requests"),
                ));
            }
        }
    }
    for (line, text, verdict) in found {
        balancer.remark(line, &text, verdict);
    }
}

fn servers_of(balancer: &OldBalancer, pools: &[String]) -> Vec<OldServer> {
    let chosen = balancer
        .pools
        .iter()
        .filter(|pool| pools.contains(&pool.name));
    chosen.flat_map(|pool| pool.servers.clone()).collect()
}

fn is_same(one: &OldServer, other: &OldServer) -> bool {
    one.address.eq_ignore_ascii_case(&other.address)
}

fn shown(server: &OldServer) -> String {
    match &server.name {
        Some(name) => format!("{name} ({})", server.address),
        None => server.address.clone(),
    }
}

fn named_pools(balancer: &OldBalancer) -> String {
    let names: Vec<&str> = balancer
        .pools
        .iter()
        .map(|pool| pool.name.as_str())
        .collect();
    names.join(", ")
}
