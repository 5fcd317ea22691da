//! Classifies a request: from head, address, parameters and body to one class.
//!
//! The order is GeoServer's: the address selects the part of GeoServer that answers (`route`), and
//! that part has its own rules (`dispatch`, `tiles`, `ogc_api`). If several readings are possible,
//! the safest one counts (`Interpretation::safer`).

use super::body::{self, BodyKind};
use super::dispatch::dispatched;
use super::interpretation::Interpretation;
use super::kvp::Kvp;
use super::pairs::guarded;
use super::path::{Path, path_len};
use super::processes::Processes;
use super::route::{self, DispatcherPath, Route};
use super::{
    BodyNeed, Clarity, Classified, RequestClass, RequestHead, Servers, Service, Span, gsr, ogc_api,
    printing, tiles,
};

/// The part of the body that the class depends on. For [`BodyNeed::Prefix`], [`classify`] needs the
/// evidence of a [`super::BodyReader`].
pub fn body_need(head: &RequestHead<'_>, context: &str) -> BodyNeed {
    if head.method != "POST" {
        return BodyNeed::None;
    }
    let path_len = path_len(head.target);
    let needs = |path: Path<'_>| {
        let route = path.below(context).map(|base| route::find(&path, base));
        match route {
            Some(Route::Ows(_)) => true,
            Some(Route::Tiles { .. }) => body::kind(head.content_type) == BodyKind::Form,
            Some(
                Route::Unmapped { .. }
                | Route::Ui { .. }
                | Route::Admin { .. }
                | Route::Static { .. }
                | Route::OgcApi { .. }
                | Route::Gsr { .. }
                | Route::KmlIcon { .. }
                | Route::Printing { .. },
            )
            | None => false,
        }
    };
    let resolved = Path::parse(head.target, path_len);
    let literal = resolved.as_ref().and_then(Path::with_dots);
    if resolved.into_iter().chain(literal).any(needs) {
        BodyNeed::Prefix
    } else {
        BodyNeed::None
    }
}

/// The class of a request to a GeoServer at `context` (`/geoserver`).
///
/// `body_prefix` is the part of the body that may decide: empty if there is no body, `None` if it
/// was not read. A request for which [`body_need`] wants the body is never a read without it.
pub fn classify(head: &RequestHead<'_>, context: &str, body_prefix: Option<&[u8]>) -> Classified {
    if head.method == "OPTIONS" {
        return Classified::of(preflight(head.target, context));
    }
    let path_len = path_len(head.target);
    let Some(path) = Path::parse(head.target, path_len) else {
        return Classified::of(if is_get(head.method) {
            UNREADABLE_PATH.beside_others(true)
        } else {
            UNREADABLE_PATH.unseen()
        });
    };
    let resolved = at_path(&path, path_len, head, context, body_prefix);
    // Behind the container, GeoServer's frameworks may map the path with its dots still in it
    // (`/rest/resource/../../wms`).
    let literal = path
        .with_dots()
        .map(|path| at_path(&path, path_len, head, context, body_prefix));
    let decided = match literal {
        Some(literal) if literal.decides_instead_of(&resolved) => Classified {
            class: literal.class,
            reason: "the path before its dots are resolved, which is the safer reading",
            ..resolved.beside(&literal)
        },
        Some(literal) => resolved.beside(&literal),
        None => resolved,
    };
    decided.with_processes_settled()
}

fn at_path(
    path: &Path<'_>,
    path_len: usize,
    head: &RequestHead<'_>,
    context: &str,
    body_prefix: Option<&[u8]>,
) -> Classified {
    let Some(base) = path.below(context) else {
        return Classified::of(OUTSIDE);
    };
    let mut kvp = Kvp::of_query(head.target, path_len + 1);
    let route = route::find(path, base);
    let (mut reading, workspace, layer) = at_route(route, path, head, body_prefix, &mut kvp);
    reading = beside_other_routes(reading, route, path, base, head);
    if may_leave_the_main(reading.class) {
        let is_file = matches!(route, Route::Static { .. } | Route::KmlIcon { .. });
        // The dispatcher reads a process the same way wherever it is mapped, and the other routes
        // read no body for one.
        let is_read = reading.class.is_read();
        let body_prefix = body_prefix.filter(|_| is_read);
        let differs =
            |other: &Route| is_read || !matches!((route, other), (Route::Ows(_), Route::Ows(_)));
        // A server that keeps what others cut off may find no other name before a service's.
        let behind = if path.has_other_segments() {
            route::behind_a_parameter(path, base)
        } else {
            None
        };
        let others = route::in_workspaces(path, base).chain(behind);
        for other in others.filter(differs) {
            if matches!(other, Route::Ows(address) if address.is_ambiguous)
                && !matches!(route, Route::Ows(_))
            {
                reading = reading.in_doubt(route::AMBIGUOUS);
            }
            let other = at_route(other, path, head, body_prefix, &mut kvp).0;
            // A workspace may be called `styles` or `ogc`. A service request in such a workspace
            // must not be taken for a file, and never for a read if it acts.
            if is_file || other.acts() {
                reading = reading.safer(other);
            } else if !may_leave_the_main(other.class) {
                reading = reading.beside_the_mains();
            }
        }
    }
    reading = with_login(reading, &kvp);
    let job = match route {
        Route::OgcApi { from, .. } => ogc_api::job(path, from),
        Route::Printing { at } => printing::id(path, at),
        _ => kvp.job,
    };
    let job = job.filter(|_| is_about_a_job(&reading, route));
    let is_light = matches!(route, Route::Printing { at } if printing::is_light(path, at));
    let pixels = match reading.class {
        RequestClass::Map if reading.service == Some(Service::Gsr) => {
            gsr::pixels(head.target.get(path_len + 1..).unwrap_or_default())
        }
        RequestClass::Map => kvp.image.pixels(reading.operation),
        _ => 0,
    };
    Classified {
        pixels,
        job,
        is_light: (is_light || job.is_some())
            && reading.class == RequestClass::Process
            && reading.clarity == Clarity::Plain,
        version: kvp.any_version(),
        workspace,
        layer: kvp.layer.or(layer),
        is_for_geowebcache: matches!(route, Route::Tiles { .. }),
        ..Classified::of(reading)
    }
}

/// True for a request about an execution that an earlier request began.
fn is_about_a_job(reading: &Interpretation, route: Route) -> bool {
    let is_of_another = reading.service == Some(Service::OgcApi)
        || matches!(route, Route::Printing { .. }) && reading.service.is_none();
    reading.class == RequestClass::Process
        && reading.operation != Some("Execute")
        && (reading.operation.is_some() || is_of_another)
}

/// The reading of a request that proves a login by a parameter. GeoServer's filters take the proof
/// at any address, and only the upstream that has the session accepts it, once.
fn with_login(reading: Interpretation, kvp: &Kvp) -> Interpretation {
    if !kvp.is_login() || reading.acts() {
        return if kvp.is_login() {
            reading.beside_the_mains()
        } else {
            reading
        };
    }
    Interpretation {
        class: RequestClass::Ui,
        reason: "the proof of a login, which can be used once (ticket, or code and state)",
        ..reading
    }
}

/// True if a request of `class` may be configured to go to a replica.
fn may_leave_the_main(class: RequestClass) -> bool {
    !matches!(class.row().served_by, Servers::Main { .. })
}

/// The reading at `route`, beside those at the routes that a workspace with the name of a folder
/// would have.
fn beside_other_routes(
    reading: Interpretation,
    route: Route,
    path: &Path<'_>,
    base: usize,
    head: &RequestHead<'_>,
) -> Interpretation {
    // The tile services compare their readings with the dispatcher's themselves.
    let is_settled = match route {
        // The exact mappings take precedence over workspaces.
        Route::Ui { .. }
        | Route::Admin { .. }
        | Route::Unmapped { .. }
        | Route::Printing { .. } => true,
        Route::Tiles { workspace, .. } => workspace.is_none(),
        _ => false,
    };
    if is_settled {
        let has_others = path.has_other_segments();
        // A server that finds another name than the form's, or a workspace before a service's name,
        // reads the body as the service does.
        let may_be_dispatched =
            || reading.reason == route::REQUEST_FORM || route::names_a_service(path, base);
        if has_others && !is_get(head.method) && may_be_dispatched() {
            return reading.unseen();
        }
        return reading.beside_others(has_others);
    }
    let is_in_workspace = matches!(
        route,
        Route::Ows(DispatcherPath { workspace, .. })
        | Route::Tiles { workspace, .. }
        | Route::OgcApi { workspace, .. }
        | Route::Gsr { workspace, .. }
        | Route::KmlIcon { workspace } if workspace.is_some()
    );
    // The dispatcher reads the last segments, wherever it is mapped.
    let is_dispatched = matches!(route, Route::Ows(_));
    let has_others = route::in_workspaces(path, base)
        .skip(usize::from(is_in_workspace))
        .any(|other| !(is_dispatched && matches!(other, Route::Ows(_))));
    let has_other_segments = path.has_other_segments();
    let is_left_unread =
        has_others || has_other_segments && !is_dispatched && route::names_a_service(path, base);
    // The body of such a request is read by the rules of one route only.
    if is_left_unread && !is_get(head.method) {
        return reading.unseen();
    }
    reading.beside_others(has_others || has_other_segments)
}

/// The reading of the request at a route, and the workspace and the layer that the address names.
fn at_route(
    route: Route,
    path: &Path<'_>,
    head: &RequestHead<'_>,
    body_prefix: Option<&[u8]>,
    kvp: &mut Kvp,
) -> (Interpretation, Option<Span>, Option<Span>) {
    match route {
        Route::Unmapped { reason } => (Interpretation::unknown(reason), None, None),
        Route::Ui { reason } => (
            Interpretation::new(RequestClass::Ui, None, reason),
            None,
            None,
        ),
        Route::Admin { reason } => (
            Interpretation::new(RequestClass::Admin, Some(Service::Rest), reason),
            None,
            None,
        ),
        Route::Static { reason } => (
            file(
                head.method,
                Interpretation::new(RequestClass::Static, None, reason),
            ),
            None,
            None,
        ),
        Route::KmlIcon { workspace } => {
            (guarded(file(head.method, KML_ICON), kvp), workspace, None)
        }
        Route::Gsr { from, workspace } => {
            (gsr::reading(head.method, path, from, kvp), workspace, None)
        }
        Route::OgcApi { from, workspace } => {
            (ogc_api::reading(head, path, from, kvp), workspace, None)
        }
        Route::Printing { at } => (printing::reading(head.method, path, at, kvp), None, None),
        Route::Tiles {
            from,
            workspace,
            layer,
        } => {
            let (reading, named) = tiles::reading(head, path, from, body_prefix, kvp);
            (reading, workspace, layer.or(named))
        }
        Route::Ows(address) => (
            dispatched(head, &address, body_prefix, kvp),
            address.workspace,
            address.layer,
        ),
    }
}

impl Classified {
    fn of(reading: Interpretation) -> Self {
        let Interpretation {
            class,
            service,
            operation,
            reason,
            clarity,
            processes,
        } = reading;
        Self {
            class,
            service,
            operation,
            version: None,
            workspace: None,
            layer: None,
            is_for_geowebcache: false,
            reason,
            clarity,
            processes,
            job: None,
            is_light: false,
            pixels: 0,
        }
    }

    /// True if this reading of the path goes to the main, acts, or may do anything, and `other`
    /// would lead the request away from there. Most paths with dots are no address without the
    /// resolution of the dots, and such a reading runs nothing.
    fn decides_instead_of(&self, other: &Self) -> bool {
        let is_more_harmful = self.class.row().severity > other.class.row().severity;
        let is_no_address =
            self.class == RequestClass::Unknown && self.clarity != Clarity::Unreadable;
        may_leave_the_main(other.class)
            && !self.class.is_read()
            && !is_no_address
            && is_more_harmful
    }

    /// The result once all readings were compared: of a process that was not read whole, or that
    /// may be a request for the main, the processes are undetermined.
    fn with_processes_settled(self) -> Self {
        let processes = match (self.class, self.clarity) {
            (RequestClass::Process, Clarity::Unreadable) => {
                self.processes.beside(Processes::UNDETERMINED)
            }
            (RequestClass::Process, _) => self.processes,
            _ => Processes::NONE,
        };
        Self { processes, ..self }
    }

    /// The same result, beside that of another reading of the path.
    fn beside(self, other: &Self) -> Self {
        let clarity = self.clarity.max(other.clarity);
        let processes = self.processes.beside(other.processes);
        Self {
            clarity: clarity.max(Clarity::SeveralReadings),
            processes: if other.class == RequestClass::Ui {
                processes.beside(Processes::UNDETERMINED)
            } else {
                processes
            },
            ..self
        }
    }
}

/// The reading of an OPTIONS request. GeoServer answers it without running anything. It goes where
/// the other methods of its path go, and the limits for the operation in its query do not apply.
fn preflight(target: &[u8], context: &str) -> Interpretation {
    const LIGHT: Interpretation = Interpretation::new(
        RequestClass::Static,
        None,
        "OPTIONS reports the allowed methods and changes nothing",
    );
    if target == b"*" {
        return LIGHT;
    }
    let Some(path) = Path::parse(target, path_len(target)) else {
        return UNREADABLE_PATH.beside_others(true);
    };
    let of_path = |path: &Path<'_>| {
        let Some(base) = path.below(context) else {
            return OUTSIDE;
        };
        let of_route = |route| match route {
            Route::Unmapped { reason } => Interpretation::unknown(reason),
            Route::Ui { .. } => Interpretation::new(
                RequestClass::Ui,
                None,
                "OPTIONS of the web interface or of login",
            ),
            Route::Admin { .. } => Interpretation::new(
                RequestClass::Admin,
                Some(Service::Rest),
                "OPTIONS of administration (/rest, /gwc/rest)",
            ),
            Route::Static { .. }
            | Route::Tiles { .. }
            | Route::OgcApi { .. }
            | Route::Gsr { .. }
            | Route::KmlIcon { .. }
            | Route::Ows(_) => LIGHT,
            Route::Printing { at } if printing::is_known(path, at) => LIGHT,
            Route::Printing { .. } => Interpretation::unknown("OPTIONS of no page of printing"),
        };
        // A workspace may be called like a folder.
        route::in_workspaces(path, base)
            .map(of_route)
            .fold(of_route(route::find(path, base)), Interpretation::safer)
    };
    let resolved = of_path(&path);
    path.with_dots()
        .map_or(resolved, |path| resolved.safer(of_path(&path)))
}

fn is_get(method: &str) -> bool {
    matches!(method, "GET" | "HEAD")
}

const UNREADABLE_PATH: Interpretation =
    Interpretation::unknown("the path has an encoding or form that servers read in different ways");
const OUTSIDE: Interpretation =
    Interpretation::unknown("the path is not below GeoServer's context");

const KML_ICON: Interpretation = Interpretation::new(
    RequestClass::Info,
    Some(Service::Wms),
    "a picture that KML placemarks refer to (/kml/icon)",
);

/// Returns `reading` if files support the method.
fn file(method: &str, reading: Interpretation) -> Interpretation {
    if is_get(method) {
        reading
    } else {
        Interpretation::unknown("a file of GeoServer, with a method that files do not have")
    }
}
