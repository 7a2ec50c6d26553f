//! The daemon from its start to its end.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use banger_core::config::{Config, ConfigError};
use banger_core::dirs::{Dirs, DirsError};
use banger_exec::{HostRunner, Runner, Tool, Tools};
use banger_host::{Helper, Host, Kvm, Sudo};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::engine::resources::blocking;
use crate::engine::{Engine, Parts};
use crate::error::{FREE_SPACE, OpError};
use crate::serve::api;
use crate::serve::socket::{self, SocketError};
use crate::serve::web::Console;
use crate::store::{Store, StoreError};

/// How long operations have to unwind when the daemon stops.
const GRACE: Duration = Duration::from_secs(30);
/// How often memory that is free is given back to the kernel.
const TRIM_PAUSE: Duration = Duration::from_secs(30);

/// The daemon cannot run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Its folders.
    #[error(transparent)]
    Dirs(#[from] DirsError),
    /// The configuration.
    #[error("the configuration {} cannot be used: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ConfigError,
    },
    /// The socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state that was found.
    #[error("the state of an earlier daemon could not be taken up")]
    Reconcile(#[from] OpError),
    /// A file.
    #[error("cannot use {}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// The variable of the environment by which it can be put elsewhere.
        variable: &'static str,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
}

impl DaemonError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::File { variable, source, .. }
            | Self::Socket(SocketError::File { variable, source, .. }) => {
                Some(match source.kind() {
                    ErrorKind::StorageFull | ErrorKind::QuotaExceeded => FREE_SPACE.to_owned(),
                    ErrorKind::IsADirectory => "remove it: a file of ours goes there".to_owned(),
                    _ => format!("make it yours and writable, or set {variable} to another folder"),
                })
            }
            Self::Socket(SocketError::Busy(_)) => {
                Some("'banger daemon status' tells of it, 'banger daemon stop' ends it".to_owned())
            }
            Self::Config { path, .. } => Some(format!("correct {}", path.display())),
            Self::Store(error) => error.remedy(),
            Self::Dirs(_) | Self::Reconcile(_) => None,
        }
    }
}

/// Reads the configuration; the defaults where there is none.
///
/// # Errors
/// It cannot be read or used.
pub fn read_config(dirs: &Dirs) -> Result<Config, DaemonError> {
    let path = dirs.config_file();
    match std::fs::read_to_string(&path) {
        Ok(text) => Config::parse(&text).map_err(|source| DaemonError::Config { path, source }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Config::default()),
        Err(source) => Err(DaemonError::File { path, variable: "XDG_CONFIG_HOME", source }),
    }
}

/// The programs found, and the Firecracker that the person wants.
fn tools(config: &Config) -> Tools {
    match &config.firecracker_bin {
        Some(path) => Tools::discover().with(Tool::Firecracker, path),
        None => Tools::discover(),
    }
}

/// Runs the daemon until it is told to stop. VMs run on.
///
/// # Errors
/// It cannot start.
pub async fn run(dirs: Dirs) -> Result<(), DaemonError> {
    banger_host::share_one_heap();
    let config = read_config(&dirs)?;
    let lock = socket::lock(&dirs)?;
    make_private(&dirs.cache).map_err(|source| DaemonError::File {
        path: dirs.cache.clone(),
        variable: "XDG_CACHE_HOME",
        source,
    })?;
    raise_descriptor_limit();
    let store = Store::open(&dirs.state.join("banger.db"))?;
    let tools = tools(&config);
    let helper: Arc<dyn Helper> = Arc::new(Sudo::new(tools.clone(), dirs.state.clone()));
    let runner: Arc<dyn Runner> = Arc::new(HostRunner::new(tools));
    let kvm = banger_host::kvm();
    if let Kvm::Unusable(reason) = &kvm {
        tracing::info!(reason, "KVM does not work here: VMs are emulated");
        // It takes a moment, which the first start need not wait for.
        std::thread::spawn(banger_host::tsc_khz);
    }
    let engine = Engine::new(Parts {
        store,
        host: Arc::new(Host::new(runner.clone(), helper.clone())),
        runner,
        helper,
        config,
        agent: companion("banger-agent"),
        build: Arc::new(banger_image::debian::build),
        kvm: kvm == Kvm::Usable,
        dirs: dirs.clone(),
    });
    engine.reconcile().await?;
    let listener = socket::bind(&dirs.socket(), &lock)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        "bangerd serves {}",
        dirs.socket().display()
    );
    let stop = Arc::new(Notify::new());
    let web = Console::open(&engine).await;
    let console = web.as_ref().map(|(console, _)| console.clone());
    let router = api::router(engine.clone(), stop.clone(), console);
    tokio::spawn(socket::serve(listener, router));
    if let Some((console, listener)) = web {
        tokio::spawn(console.serve(listener));
    }
    tokio::spawn(engine.clone().bound_logs());
    tokio::spawn(engine.clone().read_metrics());
    tokio::spawn(trim_memory());
    until_told(&stop).await;
    // What is under way unwinds, and whoever follows it is told; a daemon that ends in the
    // middle leaves that to the next one.
    engine.cancel_all();
    let deadline = Instant::now() + GRACE;
    while engine.active_operations() > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // For the last replies, the one to a stop among them.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let _ = std::fs::remove_file(dirs.socket());
    if let Err(error) = engine.store.settle().await {
        tracing::warn!(%error, "the database's log stays beside it");
    }
    tracing::info!("bangerd ends; VMs run on");
    // The lock is held until the process is gone, and with it all that it does.
    std::mem::forget(lock);
    Ok(())
}

/// Each VM and each client takes a few descriptors; the usual limit is for
/// programs that use select(2).
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays at {:?}", limit.current);
    }
}

/// Keeps what was needed once, for many event streams or an image, from staying resident.
async fn trim_memory() {
    loop {
        tokio::time::sleep(TRIM_PAUSE).await;
        // It cannot fail.
        let _ = blocking(|| {
            banger_host::trim();
            Ok(())
        })
        .await;
    }
}

async fn until_told(stop: &Notify) {
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = stop.notified() => {}
        () = terminate => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

fn make_private(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// The program that is installed beside this one.
pub(crate) fn companion(name: &str) -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(name)));
    beside.unwrap_or_else(|| PathBuf::from(name))
}
