//! Finishing a root in a boot for it alone: the scripts of its packages run where they belong.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use banger_core::api::{ApiError, CreateVm};
use banger_core::dirs::vm_files;
use banger_core::guest::{INIT_SAYS, PROVISIONED, PROVISIONING, Provisioned};
use banger_core::id::OperationId;
use banger_core::image::Image;
use banger_core::name::Name;
use banger_core::operation::{EventKind, Failure, Object, OperationKind, Outcome};
use banger_core::resource::ProcessId;
use banger_core::vm::{Network, StopCause, Transition};
use banger_image::ext4::{Disk, recover};
use banger_image::from_root::RootRequest;

use crate::engine::oplog::OpLog;
use crate::engine::resources::blocking;
use crate::engine::vm::{VmCtx, apply, released};
use crate::engine::{Engine, store_error};
use crate::error::{OpError, chain};
use crate::guest::{self, Signs};
use crate::ops::boot::Booted;
use crate::ops::derive::{of_root, with_rollback};
use crate::ops::images::Make;
use crate::ops::provision::shown;
use crate::store::vms::{self, VmRow};
use crate::vmm::Boot;

/// How long such a boot may take. The guest gives its script an hour.
const LIMIT: Duration = Duration::from_secs(2 * 3600);
/// How often it is looked for what the script says.
const LOOK: Duration = Duration::from_millis(200);
/// How long a line may be, and the word of how it ended.
const LINE_LIMIT: usize = 4096;
/// How many lines of a script are told.
const LINES: u32 = 2000;
/// How much of a console is read at a time.
const AT_ONCE: u64 = 1 << 20;
const WORD_LIMIT: u64 = 1 << 20;

impl Engine {
    /// Begins to make an image whose root has a script to be run in a boot of its own, perhaps of
    /// parts, which are gone once there is an image.
    ///
    /// # Errors
    /// The name is taken.
    pub async fn make_provisioned(
        &self,
        name: Name,
        parts: PathBuf,
        make: Make,
    ) -> Result<OperationId, ApiError> {
        self.check_image_name(&name).await?;
        self.check_boots().await?;
        let begun = self.begin(OperationKind::ImageBuild, name.as_str(), None).await;
        let log = begun.map_err(store_error)?;
        let (id, engine) = (log.id().clone(), self.clone());
        tokio::spawn(async move {
            let outcome = engine.run_provisioned(&log, name, make).await;
            if matches!(outcome, Outcome::Succeeded { object: Some(_) }) && parts.exists() {
                let removed = std::fs::remove_dir_all(&parts);
                removed.unwrap_or_else(|error| tracing::error!(%error, "parts are left"));
            }
            log.finish(outcome).await;
            engine.ended(log.id());
        });
        Ok(id)
    }

    async fn run_provisioned(&self, log: &OpLog, name: Name, make: Make) -> Outcome {
        let hidden = match self.hidden_name(log.id().short()) {
            Ok(hidden) => hidden,
            Err(error) => return refused(error),
        };
        let hide: Make = Box::new(move |id, env, staging, told| {
            let made = make(id, env, staging, told)?;
            Ok(made.map(|image| Image { name: hidden, temporary: true, ..image }))
        });
        let base = match self.run_make(log, hide).await {
            Outcome::Succeeded { object: Some(object) } => match *object {
                Object::Image(base) => base,
                Object::Vm(_) => return Outcome::Succeeded { object: Some(object) },
            },
            outcome => return outcome,
        };
        let outcome = self.make_of_base(log, name, &base).await;
        let removed = self.delete_image(&base.id).await;
        with_rollback(outcome, removed.err().map(|error| error.message).into_iter().collect())
    }

    async fn make_of_base(&self, log: &OpLog, name: Name, base: &Image) -> Outcome {
        // What is needed from elsewhere is there by now.
        let spec = CreateVm { network: Some(Network::None), ..CreateVm::default() };
        let vm = match self.builder(spec, base).await {
            Ok(vm) => vm,
            Err(error) => return refused(error),
        };
        let row = VmRow { vm: vm.clone(), opencode_password: None };
        if let Err(error) = self.store.run(move |db| vms::insert(db, &row)).await {
            return refused(store_error(error));
        }
        let ctx = VmCtx::new(self.clone(), vm);
        let outcome = match ctx.finish_root(log).await {
            Ok(()) => {
                let request = RootRequest {
                    name,
                    source: base.source.clone(),
                    parent: None,
                    base: base.clone(),
                    base_dir: self.dirs.image(base.id.as_str()),
                    created_at: base.created_at,
                };
                self.run_make(log, of_root(&ctx, request)).await
            }
            Err(error) => ctx.not_built(&error),
        };
        let removed = ctx.remove(None).await;
        with_rollback(outcome, removed.unwrap_or_else(|error| vec![chain(&error)]))
    }
}

fn refused(error: ApiError) -> Outcome {
    let ApiError { message, remedy, .. } = error;
    Outcome::Failed { failure: Failure { message, remedy, ..Failure::default() } }
}

impl VmCtx {
    /// Boots the VM, whose initramfs runs the script of the root, and waits for its end.
    async fn finish_root(&self, log: &OpLog) -> Result<(), OpError> {
        self.check_image(log).await?;
        let seed = self.seed(log).await?;
        log.stage("disks", self.provision(log, seed)).await?;
        let vm = self.vm();
        let boot = self.boot(log, &vm, None).await?;
        let intend = self.intend_run(&vm, &boot);
        let run = self.change_and(Some(log), |vm| apply(vm, Transition::Start), intend).await?;
        let mut booted = log.stage("prepare", self.prepare(log, &boot, run)).await?;
        log.stage("boot", self.runs(log, "boot", &boot, &booted)).await?;
        let how = log.stage("provision", self.run_script(log, &boot, &mut booted)).await?;
        released(self.end_run(Some(log), StopCause::GuestShutdown).await?)?;
        self.word(log, how).await
    }

    /// Waits until the VMM ends; how it ended.
    async fn run_script(
        &self,
        log: &OpLog,
        boot: &Boot,
        booted: &mut Booted,
    ) -> Result<String, OpError> {
        let mut boots = 1;
        loop {
            let signs = self.signs_of(boot, boots);
            match self.unless_full(self.script_ends(log, &booted.process, &signs)).await {
                Err(OpError::Misbooted { why }) => {
                    self.boot_better(log, boot, booted, &mut boots, why).await?;
                }
                ended => return ended,
            }
        }
    }

    /// Tells what the script says until the VMM ends.
    async fn script_ends(
        &self,
        log: &OpLog,
        process: &ProcessId,
        signs: &Signs,
    ) -> Result<String, OpError> {
        let mut script = Script::new(signs.console.clone(), signs.from);
        let how = tokio::select! {
            how = self.engine.host.ended(process) => {
                how.map_err(OpError::file("wait for the VMM of the image"))?
            }
            why = signs.bad() => return Err(OpError::Misbooted { why }),
            error = script.follow(log) => return Err(error),
            () = tokio::time::sleep(LIMIT) => {
                let last = "the scripts of its packages do not end".to_owned();
                return Err(OpError::NotReady { stage: "provision", limit: LIMIT, last });
            }
        };
        script.tell(log);
        match signs.wrong_timer() {
            Some(why) => Err(OpError::Misbooted { why }),
            None if guest::panicked(&self.console_tail()) => Err(OpError::Panicked),
            None => Ok(how.unwrap_or_else(|| "its VMM is gone".to_owned())),
        }
    }

    /// What the guest left word of: that all is well, or how the script failed.
    async fn word(&self, log: &OpLog, how: String) -> Result<(), OpError> {
        let (runner, cancel) = (self.engine.runner.clone(), log.cancel().clone());
        let root = vm_files::overlay(&self.dir());
        let word = blocking(move || {
            let read = || {
                recover(runner.as_ref(), &root, &cancel)?;
                let path = Path::new("/").join(PROVISIONED);
                Disk::open(runner.as_ref(), &root, &cancel)?.read(&path, WORD_LIMIT)
            };
            read().map_err(OpError::Word)
        });
        let word = word.await?.and_then(|word| serde_json::from_slice(&word).ok());
        match word {
            Some(Provisioned { failure: None, .. }) => Ok(()),
            Some(Provisioned { failure: Some(status), said }) => {
                let status = shown(&status).chars().take(LINE_LIMIT).collect();
                Err(OpError::guest("the configuration of packages", status, &said))
            }
            None => Err(OpError::Ended { how }),
        }
    }
}

/// What a script says on a console, line by line.
struct Script {
    console: PathBuf,
    at: u64,
    begun: bool,
    part: Vec<u8>,
    /// How many lines may still be told.
    left: u32,
}

impl Script {
    fn new(console: PathBuf, at: u64) -> Self {
        Self { console, at, begun: false, part: Vec::new(), left: LINES }
    }

    /// Tells the lines that are new, as many as a person can look through.
    fn tell(&mut self, log: &OpLog) {
        for line in self.lines() {
            let line = match self.left.checked_sub(1) {
                Some(left) => {
                    self.left = left;
                    if left > 0 { line } else { "what more is said is not told".to_owned() }
                }
                None => return,
            };
            log.tell(EventKind::Log { line });
        }
    }

    /// Tells them as they come, until it is cancelled.
    async fn follow(&mut self, log: &OpLog) -> OpError {
        loop {
            tokio::time::sleep(LOOK).await;
            if let Err(error) = log.check() {
                return error;
            }
            self.tell(log);
        }
    }

    /// The new lines. A console that cannot be read says nothing.
    fn lines(&mut self) -> Vec<String> {
        let mut new = Vec::new();
        let mut read = || {
            let mut file = File::open(&self.console)?;
            file.seek(SeekFrom::Start(self.at))?;
            file.take(AT_ONCE).read_to_end(&mut new)
        };
        self.at += read().map_or(0, |read| u64::try_from(read).unwrap_or(0));
        let mut lines = Vec::new();
        for byte in new {
            match byte {
                b'\n' => lines.extend(self.line()),
                _ if self.part.len() < LINE_LIMIT => self.part.push(byte),
                _ => {}
            }
        }
        lines
    }

    /// Ends a line. What comes before the script is the kernel's and the init's.
    fn line(&mut self) -> Option<String> {
        let line = shown(String::from_utf8_lossy(&self.part).trim_end());
        self.part.clear();
        if self.begun {
            return (!line.is_empty() && !guest::went(&line)).then_some(line);
        }
        self.begun = line.contains(INIT_SAYS) && line.ends_with(PROVISIONING);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_script_is_heard_line_by_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console");
        let mut console = File::create(&path).unwrap();
        console.write_all(b"an earlier boot\n").unwrap();
        let mut script = Script::new(path, 16);
        let mut said = |text: &str| {
            console.write_all(text.as_bytes()).unwrap();
            script.lines().join("|")
        };
        assert_eq!(said("[0.1] kernel\r\nbanger-init: 9 ms: mounted /dev/vda\r\n"), "");
        assert_eq!(said("banger-init: 12 ms: provis"), "");
        assert_eq!(said("ioning\r\nExecuting a\x1b[2J\r\nEx"), "Executing a");
        assert_eq!(said("ecuting b\r\n\r\n"), "Executing b");
        assert_eq!(said(""), "");
    }
}
