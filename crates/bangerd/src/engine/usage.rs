//! What VMs take of the host, looked at once a second for all who listen, and not at all for nobody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use banger_core::api::{ApiError, DaemonStatus, DiskUse, ErrorKind, Stats, Sudo, WebConsole};
use banger_core::dashboard::{Dashboard, HostUse, Tick, VmStats};
use banger_core::dirs::vm_files;
use banger_core::doctor::Check;
use banger_core::id::VmId;
use banger_core::resource::ProcessId;
use banger_core::size::Size;
use banger_core::vm::Vm;
use banger_host::{AskError, Ready, Usage, allocated, capacity, usage};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::clock::{now, now_ms};
use crate::engine::inspect::percent;
use crate::engine::resources::blocking;
use crate::engine::{Engine, lock};
use crate::error::{OpError, chain};
use crate::serve::api::BUILD;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Where what was seen last is, and whether somebody is looking.
#[derive(Default)]
pub(super) struct Ticks {
    last: watch::Sender<Option<Arc<Tick>>>,
    looking: Mutex<bool>,
}

/// What was seen of each VMM the last time, and when.
type Before = HashMap<VmId, (Usage, Instant)>;

impl Engine {
    /// What the daemon is and does; whether sudo is ready, if that is `asked`.
    pub(crate) fn status(&self, asked: Option<&Result<Ready, AskError>>) -> DaemonStatus {
        let sudo = |ready: &Result<Ready, AskError>| {
            let why = ready.as_ref().err().map(|error| match error {
                AskError::NotReady { why } => why.clone(),
                error => error.to_string(),
            });
            Sudo { ready: why.is_none(), why }
        };
        DaemonStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: BUILD.to_owned(),
            pid: std::process::id(),
            started_at: self.0.started_at,
            operations: self.active_operations() as u64,
            running: self.active_vms() as u64,
            last_event: *self.store.watch().borrow(),
            kvm: self.kvm,
            sudo: asked.map(sudo),
            web: self.0.web.get().cloned(),
        }
    }

    /// Tells where the web console is served, once.
    pub(crate) fn serves_web(&self, web: WebConsole) {
        // There is one console a daemon.
        let _ = self.0.web.set(web);
    }

    /// The daemon, its host, and what VMs take of it.
    ///
    /// # Errors
    /// The state folder cannot be looked at.
    pub async fn dashboard(&self) -> Result<Dashboard, ApiError> {
        let ready = self.ready().await?;
        let daemon = self.status(Some(&ready));
        let [kvm, sudo] = self.checked(ready).await?;
        Ok(Dashboard { daemon, kvm, sudo, host: self.tick().await?.host })
    }

    /// Whether KVM and sudo work, and what to do if not.
    pub(crate) async fn essentials(&self) -> Result<[Check; 2], ApiError> {
        self.checked(self.ready().await?).await
    }

    async fn checked(&self, ready: Result<Ready, AskError>) -> Result<[Check; 2], ApiError> {
        let dirs = self.dirs.clone();
        let looked = blocking(move || Ok(crate::doctor::essentials(&dirs, ready))).await;
        looked.map_err(internal)
    }

    /// What VMs take now; of CPUs nobody knows, for that takes two looks.
    pub(crate) async fn tick(&self) -> Result<Tick, ApiError> {
        self.look(&mut Before::new()).await.map_err(internal)
    }

    /// What VMs take, once a second from now on.
    #[must_use]
    pub fn ticks(&self) -> watch::Receiver<Option<Arc<Tick>>> {
        let ticks = &self.0.ticks;
        let mut looking = lock(&ticks.looking);
        let receiver = ticks.last.subscribe();
        if !std::mem::replace(&mut looking, true) {
            tokio::spawn(self.clone().keep_looking());
        }
        receiver
    }

    async fn keep_looking(self) {
        let ticks = &self.0.ticks;
        let (mut before, mut timer) = (Before::new(), interval(PAUSE));
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asking = tokio::spawn(async {});
        loop {
            timer.tick().await;
            {
                // Under the lock: who comes now sees that nobody looks any more, or is counted.
                let mut looking = lock(&ticks.looking);
                if ticks.last.receiver_count() == 0 {
                    *looking = false;
                    // Who comes hours later is not to see what was now.
                    ticks.last.send_replace(None);
                    return;
                }
            }
            match self.look(&mut before).await {
                Ok(tick) => drop(ticks.last.send(Some(Arc::new(tick)))),
                Err(error) => tracing::error!(error = chain(&error), "what VMs take is not known"),
            }
            // A VMM that does not answer must not hold the others up: what it has counted by then
            // is in the next tick.
            if asking.is_finished() {
                asking = tokio::spawn(self.clone().ask_for_traffic());
            }
        }
    }

    async fn ask_for_traffic(self) {
        let mut asked = JoinSet::new();
        for vm in self.vms().into_iter().filter(|vm| vm.run.is_some()) {
            let engine = self.clone();
            asked.spawn(async move { engine.traffic(&vm).await });
        }
        asked.join_all().await;
    }

    /// What VMs take now, and of CPUs since `before`, which becomes now.
    async fn look(&self, before: &mut Before) -> Result<Tick, OpError> {
        let vms: Vec<(Vm, Option<ProcessId>)> = {
            let tasks = lock(&self.0.tasks);
            let shown =
                tasks.values().filter_map(|task| Some((task.look.vm()?, task.look.process())));
            shown.filter(|(vm, _)| !vm.temporary).collect()
        };
        let (dirs, seen) = (self.dirs.clone(), vms);
        let looked = blocking(move || {
            let capacity = capacity(&dirs.state)?;
            let look = |(vm, process): (Vm, Option<ProcessId>)| {
                let dir = dirs.vm(vm.id.as_str());
                // A disk that cannot be looked at is told by whoever needs it.
                let taken = |path| allocated(path).unwrap_or(0);
                let disk = DiskUse {
                    overlay_bytes: taken(&vm_files::overlay(&dir)),
                    work_bytes: taken(&vm_files::work_disk(&dir)),
                };
                (process.as_ref().and_then(usage), Instant::now(), disk, vm)
            };
            Ok((capacity, seen.into_iter().map(look).collect::<Vec<_>>()))
        });
        let (capacity, mut seen) = looked.await?;
        seen.sort_by(|(.., a), (.., b)| a.name.cmp(&b.name));
        let disk = seen.iter().map(|(_, _, disk, _)| disk.overlay_bytes + disk.work_bytes).sum();
        let host = HostUse::of(capacity, seen.iter().map(|(.., vm)| vm), Size::bytes(disk));
        let mut after = Before::new();
        let stats = |(used, at, disk, vm): (Option<Usage>, Instant, DiskUse, Vm)| {
            let earlier = before.get(&vm.id);
            let cpu_percent = used.zip(earlier).map(|(used, (before, since))| {
                percent(*before, used, at.saturating_duration_since(*since))
            });
            if let Some(used) = used {
                after.insert(vm.id.clone(), (used, at));
            }
            let started_at = vm.run.as_ref().map(|run| run.started_at).filter(|_| used.is_some());
            let stats = Stats {
                cpu_ms: used.map(|used| used.cpu_ms),
                cpu_percent,
                rss_bytes: used.map(|used| used.rss_bytes),
                uptime_s: started_at.map(|at| now().saturating_sub(at)),
                disk,
                traffic: self.traffic_so_far(&vm),
            };
            VmStats { vm: vm.id, stats }
        };
        let vms = seen.into_iter().map(stats).collect();
        *before = after;
        Ok(Tick { at_ms: now_ms(), host, vms })
    }
}

fn internal(error: OpError) -> ApiError {
    ApiError::new(ErrorKind::Internal, chain(&error))
}
