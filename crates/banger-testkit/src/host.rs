//! The host's resources in a [`World`].

use std::io;
use std::path::Path;
use std::sync::Arc;

use banger_core::helper::{Answer, Verb, root_device};
use banger_core::id::VmId;
use banger_core::net::{bridge, tap};
use banger_core::resource::{Observed, ProcessId, ResourceSpec};
use banger_core::vm::RootDisk;
use banger_exec::Cancel;
use banger_host::{AskError, Ended, Found, Helper, HostError, HostOps, Ready};

use crate::{Faults, Life, Programs, World};

/// What can be done as root in a world: everything, or nothing. It is the world's [`Host`] that
/// does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// `sudo` is ready.
    Ready,
    /// It is not.
    NotReady,
}

impl Root {
    fn asked<T>(self, done: Result<T, AskError>) -> Result<T, AskError> {
        match self {
            Self::Ready => done,
            Self::NotReady => Err(AskError::NotReady { why: "a password is required".to_owned() }),
        }
    }
}

impl Helper for Root {
    fn ask(&self, verb: &Verb) -> Result<Answer, AskError> {
        self.asked(Err(AskError::Refused(format!("{verb:?} is not of this world"))))
    }

    fn ready(&self) -> Result<Ready, AskError> {
        self.asked(Ok(Ready { no_mapper: None, no_vmm: None, no_net: None, drops: Vec::new() }))
    }
}

/// Files are made by the real code, in the world's folder; processes are the
/// world's. Each call is two steps of the daemon's life: before and after.
#[derive(Clone)]
pub struct Host {
    world: World,
    life: Life,
    faults: Faults,
    files: banger_host::Host,
}

impl Host {
    /// The host of one daemon.
    #[must_use]
    pub fn new(world: World, life: Life, faults: Faults) -> Self {
        // Steps and faults are those of the calls, not of the programs in them.
        let programs = Programs { life: Life::default(), faults: Faults::default() };
        let files = banger_host::Host::new(Arc::new(programs), Arc::new(Root::NotReady));
        Self { world, life, faults, files }
    }

    fn call<T>(&self, work: impl FnOnce() -> Result<T, HostError>) -> Result<T, HostError> {
        let dead = || HostError::Processes(io::Error::other("the daemon is dead"));
        if !self.life.step() {
            return Err(dead());
        }
        let done = self.faults.call(HostError::Processes, work);
        if !self.life.step() {
            return Err(dead());
        }
        done
    }
}

impl HostOps for Host {
    fn ensure(&self, spec: &ResourceSpec, cancel: &Cancel) -> Result<Observed, HostError> {
        self.call(|| {
            let (role, args) = match spec {
                ResourceSpec::Process { role, args, .. } => (role, args),
                ResourceSpec::RootDevice { uid, vm, base, overlay } => {
                    let made = self.world.add_device(&root_device(*uid, vm), [base, overlay]);
                    return made.map(|()| Observed::default()).map_err(HostError::Processes);
                }
                ResourceSpec::Network { uid, .. } => {
                    self.world.add_link(bridge(*uid), None).map_err(HostError::Processes)?;
                    return Ok(Observed::default());
                }
                ResourceSpec::Tap { uid, address } => {
                    let made = self.world.add_link(tap(*address), Some(&bridge(*uid)));
                    return made.map(|()| Observed::default()).map_err(HostError::Processes);
                }
                _ => return self.files.ensure(spec, cancel),
            };
            let running = self.world.find(*role, args);
            let process = match running {
                Some(process) => process,
                None => self.world.start(*role, args).map_err(HostError::Processes)?,
            };
            Ok(Observed { process: Some(process) })
        })
    }

    fn release(&self, spec: &ResourceSpec, observed: Option<&Observed>) -> Result<(), HostError> {
        self.call(|| {
            match spec {
                ResourceSpec::Process { .. } => {}
                ResourceSpec::RootDevice { uid, vm, .. } => {
                    let removed = self.world.remove_device(&root_device(*uid, vm), vm);
                    return removed.map_err(HostError::Processes);
                }
                ResourceSpec::Network { uid, .. } => {
                    return self.world.remove_link(&bridge(*uid)).map_err(HostError::Processes);
                }
                ResourceSpec::Tap { address, .. } => {
                    return self.world.remove_link(&tap(*address)).map_err(HostError::Processes);
                }
                _ => return self.files.release(spec, observed),
            }
            if let Some(process) = self.process(spec, observed)? {
                self.world.end(&process, "signal 9");
            }
            Ok(())
        })
    }

    fn process(
        &self,
        spec: &ResourceSpec,
        observed: Option<&Observed>,
    ) -> Result<Option<ProcessId>, HostError> {
        let ResourceSpec::Process { role, args, .. } = spec else { return Ok(None) };
        match observed.and_then(|observed| observed.process.as_ref()) {
            Some(process) => Ok(self.is_alive(process).then(|| process.clone())),
            None => Ok(self.world.find(*role, args)),
        }
    }

    fn found(&self, _: &Path) -> Result<Vec<Found>, HostError> {
        self.call(|| Ok(Vec::new()))
    }

    fn flatten(
        &self,
        driver: RootDisk,
        files: [&Path; 3],
        cancel: &Cancel,
    ) -> Result<(), HostError> {
        self.call(|| self.files.flatten(driver, files, cancel))
    }

    fn set_apart(&self, _: &VmId, _: &[ProcessId]) -> Result<(), HostError> {
        Ok(())
    }

    fn is_alive(&self, process: &ProcessId) -> bool {
        self.world.watch(process).is_some_and(|ended| ended.borrow().is_none())
    }

    fn ended(&self, process: &ProcessId) -> Ended {
        let watched = self.world.watch(process);
        Box::pin(async move {
            let Some(mut ended) = watched else { return Ok(None) };
            let how = ended.wait_for(Option::is_some).await.map_err(io::Error::other)?;
            Ok(how.clone())
        })
    }
}
