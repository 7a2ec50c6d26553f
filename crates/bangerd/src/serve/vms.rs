//! VMs.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use banger_core::api::{ApiError, ChangeVm, CreateVm, ErrorKind, Secrets, SshAccess, StartVm};

use banger_core::operation::Operation;
use banger_core::vm::Vm;

use crate::engine::Engine;
use crate::engine::task::Wish;
use serde::Deserialize;

use crate::ops::keys;
use crate::serve::api::{Body, Key, Reply, Shared, whole};
use crate::serve::openapi::{Conflict, Internal, Invalid, NotFound};
use crate::serve::operations::accepted;

/// The VM that a path names.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct VmKey {
    /// The VM: its name, its id, or a start of its id that no other has.
    pub(super) vm: String,
}

/// All VMs
#[utoipa::path(
    get, path = "/v1/vms", tag = "vms",
    responses((status = 200, description = "All VMs", body = Vec<Vm>))
)]
pub(super) async fn list_vms(State(shared): State<Shared>) -> Json<Vec<Vm>> {
    Json(shared.engine.vms())
}

/// One VM
#[utoipa::path(
    get, path = "/v1/vms/{vm}", tag = "vms",
    params(VmKey),
    responses(
        (status = 200, description = "The VM", body = Vm),
        Invalid, NotFound, Conflict, Internal
    )
)]
pub(super) async fn show_vm(State(shared): State<Shared>, Key(key): Key<VmKey>) -> Reply<Json<Vm>> {
    Ok(Json(shared.engine.vm(&key.vm).await?.vm))
}

/// Makes a VM and starts it if asked to
///
/// 404 is for an image that is not there.
#[utoipa::path(
    post, path = "/v1/vms", tag = "vms",
    request_body = CreateVm,
    responses(
        (status = 202, description = "The making has begun", body = Operation),
        Invalid, NotFound, Conflict, Internal
    )
)]
pub(super) async fn create_vm(
    State(shared): State<Shared>,
    Body(request): Body<CreateVm>,
) -> Reply<(StatusCode, Json<Operation>)> {
    let engine = shared.engine.clone();
    let id = whole(async move { engine.create(request).await }).await?;
    accepted(&shared, id).await
}

async fn request(shared: &Shared, key: &VmKey, wish: Wish) -> Reply<(StatusCode, Json<Operation>)> {
    let (engine, key) = (shared.engine.clone(), key.vm.clone());
    let begun = async move {
        let vm = engine.vm(&key).await?.vm;
        engine.request(&vm.id, wish).await
    };
    accepted(shared, whole(begun).await?).await
}

/// Starts a VM
#[utoipa::path(
    post, path = "/v1/vms/{vm}/start", tag = "vms",
    params(VmKey), request_body = StartVm,
    responses(
        (status = 202, description = "The start has begun", body = Operation),
        Invalid, NotFound, Conflict, Internal
    )
)]
pub(super) async fn start_vm(
    State(shared): State<Shared>,
    Key(key): Key<VmKey>,
    Body(body): Body<StartVm>,
) -> Reply<(StatusCode, Json<Operation>)> {
    request(&shared, &key, Wish::Start(body.wait)).await
}

/// Stops a VM, if it runs, and starts it
#[utoipa::path(
    post, path = "/v1/vms/{vm}/restart", tag = "vms",
    params(VmKey), request_body = StartVm,
    responses(
        (status = 202, description = "The restart has begun", body = Operation),
        Invalid, NotFound, Conflict, Internal
    )
)]
pub(super) async fn restart_vm(
    State(shared): State<Shared>,
    Key(key): Key<VmKey>,
    Body(body): Body<StartVm>,
) -> Reply<(StatusCode, Json<Operation>)> {
    request(&shared, &key, Wish::Restart(body.wait)).await
}

/// Stops a VM: its guest shuts down
#[utoipa::path(
    post, path = "/v1/vms/{vm}/stop", tag = "vms",
    params(VmKey),
    responses(
        (status = 202, description = "The stop has begun", body = Operation),
        Invalid, NotFound, Conflict, Internal
    )
)]
pub(super) async fn stop_vm(
    State(shared): State<Shared>,
    Key(key): Key<VmKey>,
) -> Reply<(StatusCode, Json<Operation>)> {
    request(&shared, &key, Wish::Stop).await
}

/// Ends a VM at once, as if its power were cut
#[utoipa::path(
    post, path = "/v1/vms/{vm}/kill", tag = "vms",
    params(VmKey),
    responses(
        (status = 202, description = "The end has begun", body = Operation),
        Invalid, NotFound, Conflict, Internal
    )
)]
pub(super) async fn kill_vm(
    State(shared): State<Shared>,
    Key(key): Key<VmKey>,
) -> Reply<(StatusCode, Json<Operation>)> {
    request(&shared, &key, Wish::Kill).await
}

/// Deletes a VM with its disks, whatever its state
#[utoipa::path(
    delete, path = "/v1/vms/{vm}", tag = "vms",
    params(VmKey),
    responses(
        (status = 202, description = "The delete has begun", body = Operation),
        Invalid, NotFound, Conflict, Internal
    )
)]
pub(super) async fn delete_vm(
    State(shared): State<Shared>,
    Key(key): Key<VmKey>,
) -> Reply<(StatusCode, Json<Operation>)> {
    request(&shared, &key, Wish::Delete).await
}

/// Changes what a VM is made of
#[utoipa::path(
    patch, path = "/v1/vms/{vm}", tag = "vms",
    params(VmKey), request_body = ChangeVm,
    responses(
        (status = 200, description = "The VM as it is now", body = Vm),
        Invalid, NotFound, Conflict, Internal
    )
)]
pub(super) async fn change_vm(
    State(shared): State<Shared>,
    Key(key): Key<VmKey>,
    Body(change): Body<ChangeVm>,
) -> Reply<Json<Vm>> {
    let engine = shared.engine;
    let changed = async move {
        let vm = engine.vm(&key.vm).await?.vm;
        engine.change(&vm.id, change).await
    };
    Ok(Json(whole(changed).await?))
}

/// What it takes to enter a VM by SSH
#[utoipa::path(
    get, path = "/v1/vms/{vm}/ssh", tag = "vms",
    params(VmKey),
    responses(
        (status = 200, description = "User, keys and names", body = SshAccess),
        Invalid, NotFound, Conflict, Internal
    )
)]
pub(super) async fn show_ssh_access(
    State(shared): State<Shared>,
    Key(key): Key<VmKey>,
) -> Reply<Json<SshAccess>> {
    let vm = shared.engine.vm(&key.vm).await?.vm;
    Ok(Json(ssh_access(&shared.engine, &vm).await?))
}

/// What it takes to enter a VM by SSH. The key is made if there is none yet.
pub(super) async fn ssh_access(engine: &Engine, vm: &Vm) -> Result<SshAccess, ApiError> {
    let used = engine.clone();
    let found = tokio::task::spawn_blocking(move || {
        keys::client_key(used.runner.as_ref(), &used.dirs, &used.config)
    });
    let internal = |message: String| ApiError::new(ErrorKind::Internal, message);
    let found = found.await.map_err(|e| internal(e.to_string()))?;
    let (key, _) = found.map_err(|e| internal(crate::error::chain(&e)))?;
    Ok(SshAccess::of(&vm.id, key, &engine.dirs.vm(vm.id.as_str())))
}

/// The passwords of a VM's services
#[utoipa::path(
    get, path = "/v1/vms/{vm}/secrets", tag = "vms",
    params(VmKey),
    responses(
        (status = 200, description = "The passwords", body = Secrets),
        Invalid, NotFound, Conflict, Internal
    )
)]
pub(super) async fn show_secrets(
    State(shared): State<Shared>,
    Key(key): Key<VmKey>,
) -> Reply<Json<Secrets>> {
    let row = shared.engine.vm(&key.vm).await?;
    Ok(Json(Secrets { opencode_password: row.opencode_password }))
}
