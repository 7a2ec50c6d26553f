//! Making an image, whatever of: put together in a scratch folder, moved into place whole.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use banger_core::api::{ApiError, ErrorKind};
use banger_core::id::{ImageId, OperationId};
use banger_core::image::Image;
use banger_core::name::Name;
use banger_core::operation::{EventKind, Object, Operation, OperationKind, Outcome};
use banger_core::resource::{Observed, ResourceSpec};
use banger_image::build::{BuildEnv, Reporter};
use banger_image::namespace::Namespace;
use tokio::runtime::Handle;

use crate::clock::now_ms;
use crate::engine::oplog::OpLog;
use crate::engine::resources::blocking;
use crate::engine::{Engine, lock, store_error};
use crate::error::{OpError, chain};
use crate::store::journal::{self, Scope};
use crate::store::{StoreError, images, operations};

/// Between two progress events.
const PROGRESS_PAUSE: Duration = Duration::from_millis(200);

/// Puts the files of the image of that id into an empty folder; none if it is only got ready for.
pub(crate) type Make = Box<
    dyn FnOnce(ImageId, &BuildEnv<'_>, &Path, &dyn Reporter) -> Result<Option<Image>, OpError>
        + Send,
>;

impl Engine {
    /// Begins to make an image.
    ///
    /// # Errors
    /// The name is taken.
    pub(crate) async fn make_image(
        &self,
        kind: OperationKind,
        name: &Name,
        make: Make,
    ) -> Result<OperationId, ApiError> {
        self.check_image_name(name).await?;
        let log = self.begin(kind, name.as_str(), None).await.map_err(store_error)?;
        let id = log.id().clone();
        let engine = self.clone();
        tokio::spawn(async move {
            let outcome = engine.run_make(&log, make).await;
            log.finish(outcome).await;
            engine.ended(log.id());
        });
        Ok(id)
    }

    /// Fails if there is an image of that name, or one is being made.
    pub(crate) async fn check_image_name(&self, name: &Name) -> Result<(), ApiError> {
        use OperationKind as Kind;
        let read = self.store.read(|db| Ok((images::list(db)?, operations::list(db, true)?)));
        let (known, under_way) = read.await.map_err(store_error)?;
        if known.iter().any(|image| image.name == *name) {
            return Err(store_error(StoreError::NameTaken(name.to_string())));
        }
        let makes = |operation: &Operation| {
            let kinds = [Kind::ImageBuild, Kind::ImagePull, Kind::ImageImport, Kind::ImageRegister];
            kinds.contains(&operation.kind) && operation.target == name.as_str()
        };
        if let Some(operation) = under_way.into_iter().find(makes) {
            let message = format!("an image '{name}' is being made");
            let remedy = format!("wait for the operation {}, or cancel it", operation.id);
            return Err(ApiError::new(ErrorKind::Conflict, message).remedy(remedy));
        }
        Ok(())
    }

    /// Makes an image, and says how that ended.
    pub(crate) async fn run_make(&self, log: &OpLog, make: Make) -> Outcome {
        let image_id = ImageId::from_bits(rand::random());
        let result = self.try_make(log, make, &image_id).await;
        let mut rollback = Vec::new();
        for (owner, always) in [(log.id().as_str(), true), (image_id.as_str(), result.is_err())] {
            if always {
                let released = self.release(owner, false).await;
                rollback.extend(released.unwrap_or_else(|error| vec![chain(&error)]));
            }
        }
        match result {
            Ok(image) => {
                for message in rollback {
                    // The image is there all the same.
                    let _ = log.append(EventKind::Warning { message }).await;
                }
                let object = image.map(|image| Box::new(Object::Image(image)));
                Outcome::Succeeded { object }
            }
            Err(error) if error.is_cancelled() && rollback.is_empty() => Outcome::Cancelled,
            Err(error) => Outcome::Failed { failure: error.failure(rollback, String::new()) },
        }
    }

    async fn try_make(
        &self,
        log: &OpLog,
        make: Make,
        id: &ImageId,
    ) -> Result<Option<Image>, OpError> {
        let scratch = self.dirs.scratch(log.id().short());
        let spec = ResourceSpec::Dir { path: scratch.clone() };
        self.acquire(log.id().as_str(), Scope::Life, spec, log.cancel()).await?;
        let open = match Namespace::current() {
            Namespace::Host => scratch.clone(),
            Namespace::User => {
                let path = Path::new("/var/tmp").join(format!("bgr-{}", log.id().short()));
                let spec = ResourceSpec::SharedDir { path: path.clone() };
                self.acquire(log.id().as_str(), Scope::Life, spec, log.cancel()).await?;
                path
            }
        };
        let staging = scratch.join("image");
        let (engine, make_log, staged, id) =
            (self.clone(), log.clone(), staging.clone(), id.clone());
        let image =
            blocking(move || engine.make_blocking(&make_log, make, id, [&scratch, &open, &staged]))
                .await?;
        if let Some(image) = &image {
            log.check()?;
            self.place(log, image, &staging).await?;
        }
        Ok(image)
    }

    fn make_blocking(
        &self,
        log: &OpLog,
        make: Make,
        id: ImageId,
        [scratch, open, staging]: [&Path; 3],
    ) -> Result<Option<Image>, OpError> {
        std::fs::create_dir(staging)
            .map_err(OpError::file(format!("create {}", staging.display())))?;
        let env = BuildEnv {
            runner: self.runner.as_ref(),
            agent: &self.agent,
            cache: &self.dirs.cache,
            scratch,
            open,
            cancel: log.cancel().clone(),
        };
        let reporter = LogReporter {
            log: log.clone(),
            runtime: Handle::current(),
            stage: Mutex::default(),
            last_progress: Mutex::default(),
        };
        let image = make(id, &env, staging, &reporter);
        if image.is_ok() {
            reporter.end_stage();
        }
        image
    }

    /// Moves a whole image to its place and makes it known.
    async fn place(&self, log: &OpLog, image: &Image, staging: &Path) -> Result<(), OpError> {
        let place = self.dirs.image(image.id.as_str());
        let owner = image.id.to_string();
        let spec = ResourceSpec::Dir { path: place.clone() };
        let row = self.store.run(move |db| journal::intend(db, &owner, Scope::Life, &spec)).await?;
        let staging = staging.to_owned();
        blocking(move || {
            let parent = place.parent().unwrap_or(&place);
            // The name, too, must outlive a power cut: the database's row will.
            std::fs::create_dir_all(parent)
                .and_then(|()| std::fs::rename(&staging, &place))
                .and_then(|()| std::fs::File::open(parent)?.sync_all())
                .map_err(OpError::file(format!("create {}", place.display())))
        })
        .await?;
        let (image, operation) = (image.clone(), log.id().clone());
        let known = self.store.run(move |db| {
            images::insert(db, &image)?;
            operations::image_changed(db, Some(&operation), now_ms(), image)?;
            journal::acquired(db, row, &Observed::default())
        });
        Ok(known.await?)
    }
}

/// Turns what a build tells into events.
struct LogReporter {
    log: OpLog,
    runtime: Handle,
    stage: Mutex<Option<(String, Instant)>>,
    last_progress: Mutex<Option<Instant>>,
}

impl LogReporter {
    fn append(&self, kind: EventKind) {
        // In order, so not in tasks of their own; a failure shows in what follows.
        if let Err(error) = self.runtime.block_on(self.log.append(kind)) {
            tracing::error!(operation = %self.log.id(), %error, "an event could not be kept");
        }
    }

    fn end_stage(&self) {
        let ended = lock(&self.stage).take();
        if let Some((stage, started)) = ended {
            let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.append(EventKind::StageDone { stage, ms });
        }
    }
}

impl Reporter for LogReporter {
    fn stage(&self, name: &str) {
        self.end_stage();
        *lock(&self.stage) = Some((name.to_owned(), Instant::now()));
        self.append(EventKind::StageStarted { stage: name.to_owned() });
    }

    fn progress(&self, done: u64, total: Option<u64>) {
        // Each event is a transaction: a few a second are enough to see that it goes on.
        let now = Instant::now();
        let last = *lock(&self.last_progress);
        if last.is_some_and(|last| now - last < PROGRESS_PAUSE) && total != Some(done) {
            return;
        }
        *lock(&self.last_progress) = Some(now);
        let stage = lock(&self.stage).as_ref().map(|(name, _)| name.clone());
        if let Some(stage) = stage {
            self.append(EventKind::Progress { stage, done, total });
        }
    }

    fn log(&self, line: &str) {
        self.append(EventKind::Log { line: line.to_owned() });
    }
}
