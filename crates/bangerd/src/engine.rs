//! The engine: operations on VMs and images.
//!
//! One task per VM owns its transitions. What it acquires on the host goes
//! through [`resources`], which writes it down first.

mod define;
mod inspect;
mod leftovers;
pub mod logs;
mod metrics;
mod network;
pub mod oplog;
mod overlay;
pub mod reconcile;
pub mod resources;
pub mod task;
mod usage;
pub mod vm;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use banger_core::api::{ApiError, ChangeVm, CreateVm, ErrorKind, WebConsole};
use banger_core::config::Config;
use banger_core::dirs::Dirs;
use banger_core::id::{ImageId, OperationId, VmId};
use banger_core::image::Image;
use banger_core::operation::{EventKind, Operation, OperationKind};
use banger_core::vm::Vm;
use banger_exec::{Cancel, Runner};
use banger_host::{Helper, HostOps};
use banger_image::build::{BuildEnv, BuildError, Reporter};
use banger_image::debian::DebianRequest;
use tokio::sync::{mpsc, oneshot};

use crate::clock::{now, now_ms};
use crate::engine::oplog::OpLog;
use crate::engine::task::{Message, VmTask, Wish};
use crate::engine::vm::{Look, VmCtx};
use crate::error::chain;
use crate::store::vms::VmRow;
use crate::store::{Store, StoreError, images, operations, vms};

/// What the names of VMs begin with in which images are built.
pub(crate) const BUILDS: &str = "build-";

/// What the engine works with.
pub struct Parts {
    /// The database.
    pub store: Store,
    /// The host's resources.
    pub host: Arc<dyn HostOps>,
    /// The host's programs.
    pub runner: Arc<dyn Runner>,
    /// What needs root.
    pub helper: Arc<dyn Helper>,
    /// Where things are.
    pub dirs: Dirs,
    /// What the user configured.
    pub config: Config,
    /// The static agent binary that goes into images.
    pub agent: PathBuf,
    /// Builds the files of an image.
    pub build: Arc<Build>,
    /// Whether KVM works here.
    pub kvm: bool,
}

/// How the files of an image are built: as by [`banger_image::debian::build`].
pub type Build = dyn Fn(&DebianRequest, &BuildEnv<'_>, &Path, &dyn Reporter) -> Result<Image, BuildError>
    + Send
    + Sync;

/// The engine. Clones share it.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    parts: Parts,
    tasks: Mutex<HashMap<VmId, Task>>,
    cancels: Mutex<HashMap<OperationId, Cancel>>,
    /// Held by whoever looks at or changes what VMs share of the network `nat`, or releases what no
    /// VM has.
    network: tokio::sync::Mutex<()>,
    counted: Mutex<metrics::Counted>,
    ticks: usage::Ticks,
    /// Where the web console is served, once that is known and unless it is off.
    web: OnceLock<WebConsole>,
    /// Seconds since 1970-01-01 00:00 UTC.
    started_at: u64,
}

/// A VM's task as the others see it.
struct Task {
    look: Look,
    messages: mpsc::UnboundedSender<Message>,
}

impl std::ops::Deref for Engine {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0.parts
    }
}

impl Engine {
    /// An engine that knows no VM yet; [`reconcile`] brings in those that exist.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let (tasks, cancels, network, counted, ticks, web) = Default::default();
        let started_at = now();
        Self(Arc::new(Inner { parts, tasks, cancels, network, counted, ticks, web, started_at }))
    }

    /// Begins an operation of `kind`.
    pub(crate) async fn begin(
        &self,
        kind: OperationKind,
        target: &str,
        vm: Option<VmId>,
    ) -> Result<OpLog, StoreError> {
        self.begin_with(kind, target, vm, |_, _| Ok(()), || {}).await
    }

    /// Begins an operation in one transaction with `work`.
    pub(crate) async fn begin_with(
        &self,
        kind: OperationKind,
        target: &str,
        vm: Option<VmId>,
        work: impl FnOnce(&rusqlite::Transaction<'_>, &Operation) -> Result<(), StoreError>
        + Send
        + 'static,
        then: impl FnOnce() + Send + 'static,
    ) -> Result<OpLog, StoreError> {
        let id = OperationId::from_bits(rand::random());
        let operation = Operation {
            id: id.clone(),
            kind,
            target: target.to_owned(),
            vm,
            started_at_ms: now_ms(),
            outcome: None,
        };
        let work = move |db: &rusqlite::Transaction<'_>| {
            operations::begin(db, &operation)?;
            work(db, &operation)
        };
        self.store.run_then(work, then).await?;
        let cancel = Cancel::default();
        lock(&self.0.cancels).insert(id.clone(), cancel.clone());
        Ok(OpLog::new(id, self.store.clone(), cancel))
    }

    /// Forgets the cancel flag of an operation that has ended.
    pub(crate) fn ended(&self, id: &OperationId) {
        lock(&self.0.cancels).remove(id);
    }

    /// Asks an operation to stop. Fine if it has ended.
    pub fn cancel(&self, id: &OperationId) {
        if let Some(cancel) = lock(&self.0.cancels).get(id) {
            cancel.cancel();
        }
    }

    /// Asks all operations to stop.
    pub fn cancel_all(&self) {
        lock(&self.0.cancels).values().for_each(Cancel::cancel);
    }

    /// How many operations are under way.
    #[must_use]
    pub fn active_operations(&self) -> usize {
        lock(&self.0.cancels).len()
    }

    /// Starts the task of a VM that is in the database.
    pub(crate) fn spawn_task(&self, ctx: VmCtx) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let id = ctx.vm().id;
        let task = Task { look: ctx.look(), messages: sender };
        lock(&self.0.tasks).insert(id.clone(), task);
        let engine = self.clone();
        tokio::spawn(async move {
            VmTask::new(engine.clone(), ctx, receiver).run().await;
            lock(&engine.0.tasks).remove(&id);
        });
    }

    /// Where to send messages for a VM.
    fn task(&self, vm: &VmId) -> Option<mpsc::UnboundedSender<Message>> {
        lock(&self.0.tasks).get(vm).map(|task| task.messages.clone())
    }

    /// The folders of the VMs that have a VMM.
    fn running(&self) -> Vec<PathBuf> {
        let tasks = lock(&self.0.tasks);
        let running = tasks.iter().filter(|(_, task)| task.look.runs());
        running.map(|(id, _)| self.dirs.vm(id.as_str())).collect()
    }

    /// Defines a VM and begins to create it.
    ///
    /// # Errors
    /// The request makes no sense here, or the name is taken.
    pub async fn create(&self, request: CreateVm) -> Result<OperationId, ApiError> {
        let image = self.image(request.image.as_deref().unwrap_or(&self.config.image)).await?;
        let vm = self.define(&request, &image).await?;
        let opencode_password = vm.spec.opencode.then(secret);
        let row = VmRow { vm: vm.clone(), opencode_password };
        let (kind, target) = (OperationKind::VmCreate, vm.name.as_str().to_owned());
        let key = vm.id.clone();
        // Together: a VM without the operation that makes it would be stuck.
        let work = move |db: &rusqlite::Transaction<'_>, operation: &Operation| {
            vms::insert(db, &row)?;
            let made = EventKind::VmChanged { vm: Box::new(row.vm) };
            operations::append(db, Some(&operation.id), operation.started_at_ms, &made)
        };
        let (engine, runtime) = (self.clone(), tokio::runtime::Handle::current());
        // It is listed by whoever has heard of it.
        let then = move || {
            let _in = runtime.enter();
            engine.spawn_task(VmCtx::new(engine.clone(), vm));
        };
        let begun = self.begin_with(kind, &target, Some(key.clone()), work, then);
        let log = begun.await.map_err(store_error)?;
        let id = log.id().clone();
        if let Some(task) = self.task(&key) {
            // The task was just started: it takes the message.
            let _ = task.send(Message::Create { log, start: request.start });
        }
        Ok(id)
    }

    /// Asks for something of a VM and begins the operation.
    ///
    /// # Errors
    /// There is no such VM, or its state does not allow it.
    pub async fn request(&self, vm: &VmId, wish: Wish) -> Result<OperationId, ApiError> {
        let gone = || ApiError::new(ErrorKind::NotFound, "the VM is gone");
        let task = self.task(vm).ok_or_else(gone)?;
        let (reply, answer) = oneshot::channel();
        task.send(Message::Request { wish, reply }).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Changes what a VM is made of.
    ///
    /// # Errors
    /// There is no such VM, its state does not allow it, or the change cannot be.
    pub async fn change(&self, vm: &VmId, change: ChangeVm) -> Result<Vm, ApiError> {
        let gone = || ApiError::new(ErrorKind::NotFound, "the VM is gone");
        let task = self.task(vm).ok_or_else(gone)?;
        let (reply, answer) = oneshot::channel();
        task.send(Message::Change { change, reply }).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// All VMs, by name.
    #[must_use]
    pub fn vms(&self) -> Vec<Vm> {
        let mut vms: Vec<Vm> =
            lock(&self.0.tasks).values().filter_map(|task| task.look.vm()).collect();
        vms.retain(|vm| !vm.temporary);
        vms.sort_by(|a, b| a.name.cmp(&b.name));
        vms
    }

    /// How many VMs may have a VMM that runs.
    #[must_use]
    pub fn active_vms(&self) -> usize {
        lock(&self.0.tasks).values().filter(|task| task.look.is_active()).count()
    }

    /// The VM that `key` means: a name, an id or a unique prefix of an id.
    ///
    /// # Errors
    /// There is none, or several.
    pub async fn vm(&self, key: &str) -> Result<VmRow, ApiError> {
        let wanted = key.to_owned();
        let found = self.store.read(move |db| vms::find(db, &wanted)).await.map_err(store_error)?;
        let found = found.into_iter().filter(|row| !row.vm.temporary).collect();
        only(found, "VM", key, "see 'banger vm list'")
    }

    /// All images, by name.
    ///
    /// # Errors
    /// The database's.
    pub async fn images(&self) -> Result<Vec<Image>, ApiError> {
        let mut images = self.store.read(|db| images::list(db)).await.map_err(store_error)?;
        images.retain(|image| !image.temporary);
        Ok(images)
    }

    /// The image that `key` means.
    ///
    /// # Errors
    /// There is none, or several.
    pub async fn image(&self, key: &str) -> Result<Image, ApiError> {
        let wanted = key.to_owned();
        let found =
            self.store.read(move |db| images::find(db, &wanted)).await.map_err(store_error)?;
        let found = found.into_iter().filter(|image| !image.temporary).collect();
        let remedy = format!(
            "build it with 'banger image build debian --name {key}', or see 'banger image list'"
        );
        only(found, "image", key, &remedy)
    }

    /// Removes an image that no VM uses.
    ///
    /// # Errors
    /// A VM uses it, or its files cannot be removed.
    pub async fn delete_image(&self, id: &ImageId) -> Result<(), ApiError> {
        let image = id.clone();
        let deleted = self.store.run(move |db| {
            let users = images::delete(db, &image)?;
            if users.is_empty() {
                operations::append(db, None, now_ms(), &EventKind::ImageDeleted { image })?;
            }
            Ok(users)
        });
        let users = deleted.await.map_err(store_error)?;
        if !users.is_empty() {
            let message = format!("the image is used by {}", users.join(", "));
            let remedy = match users.iter().all(|name| name.starts_with(BUILDS)) {
                true => "an image is being built from it: wait, or cancel that",
                false => "delete those VMs first",
            };
            return Err(ApiError::new(ErrorKind::Conflict, message).remedy(remedy));
        }
        let failures = self.release(id.as_str(), false).await.map_err(store_error)?;
        if failures.is_empty() {
            return Ok(());
        }
        Err(ApiError::new(ErrorKind::Internal, failures.join("\n")))
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // The maps stay whole whatever panics: an insert or remove is one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn only<T>(mut found: Vec<T>, what: &str, key: &str, remedy: &str) -> Result<T, ApiError> {
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        (Some(_), false) => {
            let message = format!("'{key}' is the start of several ids");
            Err(ApiError::new(ErrorKind::Conflict, message)
                .remedy("write more of the id, or the name"))
        }
        (None, _) => {
            let message = format!("there is no {what} '{key}'");
            Err(ApiError::new(ErrorKind::NotFound, message).remedy(remedy))
        }
    }
}

/// The API's error for a failure of the database.
pub fn store_error(error: StoreError) -> ApiError {
    let kind = match error {
        StoreError::NameTaken(_) => ErrorKind::Conflict,
        _ => ErrorKind::Internal,
    };
    ApiError { kind, message: chain(&error), remedy: error.remedy() }
}

/// 128 random bits as hexadecimal digits.
fn secret() -> String {
    format!("{:032x}", rand::random::<u128>())
}
