//! One task per VM. It takes requests by the policy's table, runs one at a
//! time, and sees at once when the VMM ends by itself.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::time::Duration;

use banger_core::api::{ApiError, ChangeVm, ErrorKind};
use banger_core::id::OperationId;
use banger_core::name::Name;
use banger_core::operation::{Failure, Object, OperationKind, Outcome};
use banger_core::policy::{self, Busy, Decision, Request};
use banger_core::resource::ProcessId;
use banger_core::vm::{Vm, WaitFor};
use banger_host::HostOps;
use tokio::sync::{mpsc, oneshot};

use crate::engine::oplog::OpLog;
use crate::engine::vm::VmCtx;
use crate::engine::{Engine, store_error};

/// What a VM's task is told.
pub enum Message {
    /// Make the VM; the first message of a new one.
    Create {
        /// The operation.
        log: OpLog,
        /// How far to start it; none leaves it stopped.
        start: Option<WaitFor>,
    },
    /// A client's request.
    Request {
        /// What.
        wish: Wish,
        /// The operation that was begun.
        reply: oneshot::Sender<Result<OperationId, ApiError>>,
    },
    /// A client's change of what the VM is made of.
    Change {
        /// What.
        change: ChangeVm,
        /// The VM as it is then.
        reply: oneshot::Sender<Result<Vm, ApiError>>,
    },
}

/// A request with what it takes.
#[derive(Debug, Clone)]
pub enum Wish {
    /// [`Request::Start`], so far.
    Start(WaitFor),
    /// [`Request::Stop`].
    Stop,
    /// [`Request::Restart`], so far.
    Restart(WaitFor),
    /// [`Request::Kill`].
    Kill,
    /// [`Request::Delete`].
    Delete,
    /// [`Request::Copy`], as an image of that name.
    Copy(Name),
}

impl Wish {
    fn request(&self) -> Request {
        match self {
            Self::Start(_) => Request::Start,
            Self::Stop => Request::Stop,
            Self::Restart(_) => Request::Restart,
            Self::Kill => Request::Kill,
            Self::Delete => Request::Delete,
            Self::Copy(_) => Request::Copy,
        }
    }
}

#[derive(Clone)]
enum Job {
    Create { start: Option<WaitFor> },
    Wish(Wish),
}

impl Job {
    fn busy(&self) -> Busy {
        match self {
            Self::Create { .. } => Busy::Create,
            Self::Wish(wish) => Busy::Request(wish.request()),
        }
    }
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The task of one VM.
pub struct VmTask {
    engine: Engine,
    ctx: VmCtx,
    messages: mpsc::UnboundedReceiver<Message>,
    queue: VecDeque<(Job, OpLog)>,
    current: Option<(Job, OpLog)>,
    /// What came in the moment between the end of `current` and the end of its work.
    postponed: Vec<Message>,
}

impl VmTask {
    /// A task for a VM that is in the database.
    #[must_use]
    pub fn new(engine: Engine, ctx: VmCtx, messages: mpsc::UnboundedReceiver<Message>) -> Self {
        Self { engine, ctx, messages, queue: VecDeque::new(), current: None, postponed: Vec::new() }
    }

    /// Runs until the VM is gone.
    pub async fn run(mut self) {
        let mut work: Option<Work> = None;
        loop {
            if work.is_none() {
                let Some((job, log)) = self.queue.pop_front() else {
                    if self.ctx.is_gone() {
                        return;
                    }
                    if self.idle().await { continue } else { return }
                };
                work = Some(self.start(job.clone(), log.clone()));
                self.current = Some((job, log));
            }
            let Some(running) = &mut work else { continue };
            tokio::select! {
                () = running => {
                    work = None;
                    if let Some((_, log)) = self.current.take() {
                        self.engine.ended(log.id());
                    }
                    for message in std::mem::take(&mut self.postponed) {
                        self.take(message).await;
                    }
                }
                Some(message) = self.messages.recv() => match &self.current {
                    // Who has heard of the end must not be told that the VM is busy.
                    Some((_, log)) if log.ends() => self.postponed.push(message),
                    _ => self.take(message).await,
                },
            }
        }
    }

    /// Waits for something to happen, while there is nothing to do. Returns whether anybody can
    /// still ask for anything.
    async fn idle(&mut self) -> bool {
        let host = self.engine.host.clone();
        // Waited for all along: to look at an overlay, now and then, is not to begin anew.
        let mut vmm = pin!(end(&*host, self.ctx.process()));
        let mut vsock = pin!(end(&*host, self.ctx.vsock()));
        loop {
            tokio::select! {
                message = self.messages.recv() => match message {
                    Some(message) => self.take(message).await,
                    None => return false,
                },
                how = &mut vmm => self.ctx.vmm_ended(how).await,
                how = &mut vsock => self.ctx.vsock_ended(how).await,
                () = self.ctx.look_again() => {
                    self.ctx.watch_overlay().await;
                    continue;
                }
            }
            return true;
        }
    }

    fn start(&self, job: Job, log: OpLog) -> Work {
        let ctx = self.ctx.clone();
        Box::pin(async move {
            if ctx.is_gone() {
                return finish_gone(&log, &job).await;
            }
            match job {
                Job::Create { start } => ctx.create(&log, start).await,
                Job::Wish(Wish::Start(wait)) => ctx.start_op(&log, wait).await,
                Job::Wish(Wish::Stop) => ctx.stop_op(&log).await,
                Job::Wish(Wish::Restart(wait)) => ctx.restart_op(&log, wait).await,
                Job::Wish(Wish::Kill) => ctx.kill_op(&log).await,
                Job::Wish(Wish::Delete) => ctx.delete_op(&log).await,
                Job::Wish(Wish::Copy(name)) => ctx.copy_op(&log, name).await,
            }
        })
    }

    async fn take(&mut self, message: Message) {
        match message {
            Message::Create { log, start } => self.queue.push_back((Job::Create { start }, log)),
            Message::Request { wish, reply } => {
                let answer = self.decide(wish).await;
                // A client that went away did not cancel.
                let _ = reply.send(answer);
            }
            Message::Change { change, reply } => {
                let answer = if self.queue.is_empty() && self.current.is_none() {
                    self.ctx.change_to(&change).await
                } else {
                    let message = format!("something is under way on '{}'", self.ctx.vm().name);
                    Err(ApiError::new(ErrorKind::Conflict, message)
                        .remedy("try again when it is done"))
                };
                let _ = reply.send(answer);
            }
        }
    }

    async fn decide(&mut self, wish: Wish) -> Result<OperationId, ApiError> {
        let (vm, request) = (self.ctx.vm(), wish.request());
        let last = self.queue.back().or(self.current.as_ref());
        let busy = last.map(|(job, _)| job.busy());
        let decision = policy::accept(&vm.state, busy, request);
        if let Decision::Deny(reason) = decision {
            let message = format!("cannot {} '{}': {reason}", verb(request), vm.name);
            let error = ApiError::new(ErrorKind::Conflict, message);
            let runs = request == Request::Copy && vm.state.is_active();
            return Err(match runs {
                true => error.remedy(format!("banger vm stop {}", vm.name)),
                false => error,
            });
        }
        let begun = self.engine.begin(kind(request), vm.name.as_str(), Some(vm.id.clone())).await;
        let log = begun.map_err(store_error)?;
        let id = log.id().clone();
        if decision == Decision::Ignore {
            let object = Some(Box::new(Object::Vm(vm)));
            log.finish(Outcome::Succeeded { object }).await;
            self.engine.ended(&id);
            return Ok(id);
        }
        if decision == Decision::Preempt {
            for (_, log) in self.current.iter().chain(&self.queue) {
                log.cancel().cancel();
            }
        }
        self.queue.push_back((Job::Wish(wish), log));
        Ok(id)
    }
}

/// Ends an operation on a VM that was removed before its turn came.
async fn finish_gone(log: &OpLog, job: &Job) {
    log.finish(match job {
        Job::Wish(Wish::Delete) => Outcome::Succeeded { object: None },
        _ => Outcome::Failed {
            failure: Failure { message: "the VM was removed".to_owned(), ..Failure::default() },
        },
    })
    .await;
}

fn kind(request: Request) -> OperationKind {
    match request {
        Request::Start => OperationKind::VmStart,
        Request::Stop => OperationKind::VmStop,
        Request::Restart => OperationKind::VmRestart,
        Request::Kill => OperationKind::VmKill,
        Request::Delete => OperationKind::VmDelete,
        Request::Copy => OperationKind::ImagePromote,
    }
}

fn verb(request: Request) -> &'static str {
    match request {
        Request::Start => "start",
        Request::Stop => "stop",
        Request::Restart => "restart",
        Request::Kill => "kill",
        Request::Delete => "delete",
        Request::Copy => "make an image of",
    }
}

/// Waits for the end of a process and says how it ended; for ever if there is none.
async fn end(host: &dyn HostOps, process: Option<ProcessId>) -> Option<String> {
    let Some(process) = process else { return std::future::pending().await };
    loop {
        match host.ended(&process).await {
            Ok(how) => return how,
            // Not to be seen is not to be gone.
            Err(error) => tracing::error!(%error, "the end of a process cannot be watched"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
