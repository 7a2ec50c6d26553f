//! The host's resources in a [`World`].

use std::io;
use std::sync::Arc;

use banger_core::resource::{Observed, ProcessId, ResourceSpec};
use banger_exec::Cancel;
use banger_host::{Ended, HostError, HostOps};

use crate::{Faults, Life, Programs, World};

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
        let files = banger_host::Host::new(Arc::new(programs));
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
            let ResourceSpec::Process { role, args, .. } = spec else {
                return self.files.ensure(spec, cancel);
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
            if !matches!(spec, ResourceSpec::Process { .. }) {
                return self.files.release(spec, observed);
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
