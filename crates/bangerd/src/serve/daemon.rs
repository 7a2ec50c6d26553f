//! The daemon itself and its host.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use banger_core::api::{
    ApiError, DaemonStatus, ErrorKind, Leftover, StopDaemon, WebConsole, WebLogin,
};
use banger_core::dashboard::Dashboard;
use banger_core::doctor::{CLEAN_UP, Check, DoctorReport};
use serde::Deserialize;
use tokio::task::JoinError;

use crate::serve::api::{Body, Params, Reply, Shared, whole};
use crate::serve::openapi::{Conflict, Internal, Invalid};

/// What to look at.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Look {
    /// Whether it is tried if what needs root can be done: that runs sudo.
    #[serde(default)]
    sudo: bool,
}

/// What the daemon is and does
#[utoipa::path(
    get, path = "/v1/daemon", tag = "daemon", params(Look),
    responses((status = 200, description = "The daemon", body = DaemonStatus), Internal)
)]
pub(super) async fn show_daemon(
    State(shared): State<Shared>,
    Params(look): Params<Look>,
) -> Reply<Json<DaemonStatus>> {
    let ready = if look.sudo { Some(shared.engine.ready().await?) } else { None };
    Ok(Json(shared.engine.status(ready.as_ref())))
}

/// What VMs take of this host, whether KVM and sudo work, and the daemon
///
/// Whether sudo is ready is tried, as by `/v1/daemon?sudo=true`. `/v1/stats` tells of what changes.
#[utoipa::path(
    get, path = "/v1/dashboard", tag = "daemon",
    responses((status = 200, description = "All of it", body = Dashboard), Internal)
)]
pub(super) async fn show_dashboard(State(shared): State<Shared>) -> Reply<Json<Dashboard>> {
    Ok(Json(shared.engine.dashboard().await?))
}

/// What works on this host and what is missing
#[utoipa::path(
    get, path = "/v1/doctor", tag = "daemon",
    responses((status = 200, description = "All that was looked at", body = DoctorReport), Internal)
)]
pub(super) async fn doctor(State(shared): State<Shared>) -> Reply<Json<DoctorReport>> {
    let leftovers = shared.engine.leftovers().await?;
    let web = shared.engine.status(None).web;
    let look = tokio::task::spawn_blocking(move || crate::doctor::report(&shared.engine.dirs));
    let failed = |e: JoinError| ApiError::new(ErrorKind::Internal, e.to_string());
    let mut report = look.await.map_err(failed)?;
    report.checks.push(behind(&leftovers));
    report.checks.push(web_console(web));
    Ok(Json(report))
}

/// What to do about a port that is taken.
const FREE_PORT: &str =
    "set 'web_listen' to a free port, or to 127.0.0.1:0, then: banger daemon restart";
/// What to do about a console that is off.
const SWITCH_ON: &str = "take the line web_listen = \"off\" out of the file that 'banger config \
    path' tells, then: banger daemon restart";

fn web_console(web: Option<WebConsole>) -> Check {
    const NAME: &str = "web console";
    match web {
        None => Check::ok(NAME, "off"),
        Some(WebConsole { url: Some(url), .. }) => Check::ok(NAME, url),
        Some(WebConsole { why, .. }) => {
            Check::warning(NAME, why.unwrap_or_default()).remedy(FREE_PORT)
        }
    }
}

fn behind(leftovers: &[Leftover]) -> Check {
    const NAME: &str = "left behind";
    if leftovers.is_empty() {
        return Check::ok(NAME, "nothing");
    }
    let all: Vec<_> = leftovers.iter().map(|leftover| leftover.what.as_str()).collect();
    Check::warning(NAME, format!("{}: no VM has them", all.join(", "))).remedy(CLEAN_UP)
}

/// A URL that lets one browser into the web console
///
/// It is good once, and for two minutes.
#[utoipa::path(
    post, path = "/v1/web/login", tag = "daemon",
    responses((status = 200, description = "The URL", body = WebLogin), Conflict)
)]
pub(super) async fn invite_browser(State(shared): State<Shared>) -> Reply<Json<WebLogin>> {
    let Some(console) = &shared.web else {
        let (why, remedy) = match shared.engine.status(None).web.and_then(|web| web.why) {
            Some(why) => (why, FREE_PORT),
            None => ("the web console is off".to_owned(), SWITCH_ON),
        };
        return Err(ApiError::new(ErrorKind::Conflict, why).remedy(remedy).into());
    };
    Ok(Json(console.invite()))
}

/// What is banger's on this host, and no VM's
#[utoipa::path(
    get, path = "/v1/leftovers", tag = "daemon",
    responses((status = 200, description = "All of it", body = Vec<Leftover>), Internal)
)]
pub(super) async fn list_leftovers(State(shared): State<Shared>) -> Reply<Json<Vec<Leftover>>> {
    Ok(Json(shared.engine.leftovers().await?))
}

/// Releases it
#[utoipa::path(
    post, path = "/v1/leftovers/release", tag = "daemon",
    responses((status = 200, description = "All of it", body = Vec<Leftover>), Internal)
)]
pub(super) async fn release_leftovers(State(shared): State<Shared>) -> Reply<Json<Vec<Leftover>>> {
    Ok(Json(whole(async move { shared.engine.release_leftovers().await }).await?))
}

/// Ends the daemon; VMs run on
#[utoipa::path(
    post, path = "/v1/daemon/stop", tag = "daemon",
    request_body = StopDaemon,
    responses((status = 204, description = "It is about to end"), Invalid, Conflict)
)]
pub(super) async fn stop_daemon(
    State(shared): State<Shared>,
    Body(body): Body<StopDaemon>,
) -> Reply<StatusCode> {
    let under_way = shared.engine.active_operations();
    if under_way > 0 && !body.now {
        let message = format!("operations are under way: {under_way}");
        let refusal = ApiError::new(ErrorKind::Conflict, message);
        return Err(refusal.remedy("wait for their end, or cancel them with --now").into());
    }
    shared.stop.notify_one();
    Ok(StatusCode::NO_CONTENT)
}
