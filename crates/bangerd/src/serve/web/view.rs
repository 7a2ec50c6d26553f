//! What there is to see on a page: pieces of HTML, of which the page and its stream are made.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use banger_core::agent::Port;
use banger_core::api::{ApiError, ErrorKind};
use banger_core::dashboard::Tick;
use banger_core::fold::StageView;
use banger_core::id::OperationId;
use banger_core::operation::{Operation, OperationKind};
use banger_core::vm::Vm;
use maud::{Markup, html};

use crate::engine::store_error;
use crate::serve::web::layout::slot;
use crate::serve::web::session::Session;
use crate::serve::web::show::chart::{History, waterfall};
use crate::serve::web::show::operation::Followed;
use crate::serve::web::show::{host, operation, plain, vm};
use crate::serve::web::{Console, pages};
use crate::store::operations;

/// How often a guest is asked what listens in it, and how long it may take.
const PORTS_PAUSE: Duration = Duration::from_secs(10);
const PORTS_LIMIT: Duration = Duration::from_secs(2);
/// The most operations that a list shows, the newest first.
const MOST_OPERATIONS: usize = 200;

/// Among how many operations the last start is looked for.
const MOST_STARTS: usize = 5;

/// What a page is about.
#[derive(Clone)]
pub enum Subject {
    /// All of it.
    Dashboard,
    /// The VMs.
    Vms,
    /// One of them.
    Vm(String),
    /// The images.
    Images,
    /// The operations.
    Operations,
    /// One of them.
    Operation(String),
}

/// A piece of a page. Its name is that of its events, and the id of its element.
pub struct Piece {
    /// Its name.
    pub name: Cow<'static, str>,
    /// The piece that it is in, which has it in its own HTML.
    pub within: Option<&'static str>,
    /// What it depends on, if not on all of its HTML.
    pub key: Option<u64>,
    /// What it shows.
    pub html: Markup,
}

fn piece(name: &'static str, html: Markup) -> Piece {
    Piece { name: name.into(), within: None, key: None, html }
}

/// The pieces of a page.
pub struct Pieces(pub Vec<Piece>);

impl Pieces {
    /// One of them, in its place.
    pub fn slot(&self, name: &str) -> Markup {
        let found = self.0.iter().find(|piece| piece.name == name);
        found.map_or_else(Markup::default, |piece| slot(name, &piece.html))
    }
}

/// A look at a subject, and what is remembered from one to the next.
pub struct View {
    /// Where.
    pub console: Console,
    /// For whom.
    pub session: Session,
    /// What.
    pub subject: Subject,
    history: History,
    /// Operations that are followed.
    followed: HashMap<OperationId, Followed>,
    /// What listened in the guest, and when it was asked.
    ports: Option<(Instant, Result<Vec<Port>, ApiError>)>,
    /// Whether it was looked at whether KVM and sudo work.
    checked: bool,
    /// Whether the operation is over.
    pub over: bool,
}

impl View {
    /// One that remembers nothing yet.
    pub fn new(console: &Console, session: &Session, subject: Subject) -> Self {
        let (console, session) = (console.clone(), session.clone());
        let (history, followed) = Default::default();
        Self {
            console,
            session,
            subject,
            history,
            followed,
            ports: None,
            checked: false,
            over: false,
        }
    }

    /// What there is to see now.
    pub async fn pieces(&mut self, tick: Option<&Tick>) -> Result<Pieces, ApiError> {
        let pieces = match self.subject.clone() {
            Subject::Dashboard => self.dashboard(tick).await?,
            Subject::Vms => self.vms(tick),
            Subject::Vm(key) => self.vm(&key, tick).await?,
            Subject::Images => vec![self.images().await?],
            Subject::Operations => {
                let list = self.operations(false).await?;
                vec![self.listed(&list, operation::table(&self.session, &list))]
            }
            Subject::Operation(key) => self.operation(&key).await?,
        };
        Ok(Pieces(pieces))
    }

    async fn operations(&self, unfinished: bool) -> Result<Vec<Operation>, ApiError> {
        let list = self.console.engine.store.read(move |db| operations::list(db, unfinished));
        let mut list = list.await.map_err(store_error)?;
        list.truncate(MOST_OPERATIONS);
        Ok(list)
    }

    /// A list of operations: how long ago they began is not worth sending it again.
    fn listed(&self, list: &[Operation], html: Markup) -> Piece {
        let mut hasher = DefaultHasher::new();
        list.iter().for_each(|one| (&one.id, one.outcome.is_some()).hash(&mut hasher));
        Piece { key: Some(hasher.finish()), ..piece("operations", html) }
    }

    async fn dashboard(&mut self, tick: Option<&Tick>) -> Result<Vec<Piece>, ApiError> {
        // While a page is looked at, sudo is not tried again: it tells its administrator.
        let again = std::mem::replace(&mut self.checked, true);
        let checks = self.console.checks(again).await?;
        let engine = &self.console.engine;
        let under_way = self.operations(true).await?;
        let own;
        let host = match tick {
            Some(tick) => &tick.host,
            None => {
                own = engine.tick().await?.host;
                &own
            }
        };
        let shown = html! {
            @if under_way.is_empty() { p { "Nothing is under way." } }
            @else { (operation::table(&self.session, &under_way)) }
        };
        let mut pieces = vec![
            piece("cards", host::cards(host)),
            piece("readiness", host::readiness(&checks, &engine.status(None))),
            self.listed(&under_way, shown),
            self.images().await?,
        ];
        pieces.extend(self.vms(tick));
        Ok(pieces)
    }

    async fn images(&self) -> Result<Piece, ApiError> {
        let engine = &self.console.engine;
        let mut uses: HashMap<_, usize> = HashMap::new();
        engine.vms().into_iter().for_each(|vm| *uses.entry(vm.spec.image).or_default() += 1);
        Ok(piece("images", pages::images::table(&engine.images().await?, &uses)))
    }

    /// The table, and what changes in its rows: so a click or a choice of text is not lost to what
    /// a VM takes, which changes each second.
    fn vms(&self, tick: Option<&Tick>) -> Vec<Piece> {
        let vms = self.console.engine.vms();
        let rows = vms.iter().flat_map(|vm| {
            let [state, used] = vm::pieces(vm);
            let figures = vm::figures(vm::stats(tick, vm));
            let cells = [(state, vm::badge(&vm.state)), (used, html! { (figures) })];
            cells.map(|(name, html)| Piece {
                name: name.into(),
                within: Some("vms"),
                key: None,
                html,
            })
        });
        let rows: Vec<_> = rows.collect();
        let mut hasher = DefaultHasher::new();
        vms.iter().for_each(|vm| {
            (&vm.id, &vm.name, vm.spec.vcpus, vm.spec.memory).hash(&mut hasher);
        });
        let (key, html) = (Some(hasher.finish()), vm::table(&vms, tick));
        let table = Piece { name: "vms".into(), within: None, key, html };
        std::iter::once(table).chain(rows).collect()
    }

    async fn vm(&mut self, key: &str, tick: Option<&Tick>) -> Result<Vec<Piece>, ApiError> {
        let vm = self.console.engine.vm(key).await?.vm;
        // By its id from now on: it may get another name while it is looked at.
        self.subject = Subject::Vm(vm.id.to_string());
        let stats = vm::stats(tick, &vm);
        if let (Some(tick), Some(stats), Some(_)) = (tick, stats, &vm.run) {
            self.history.add(tick.at_ms, stats);
        }
        let id = vm.id.clone();
        let read = self.console.engine.store.read(move |db| operations::of_vm(db, &id));
        let operations = read.await.map_err(store_error)?;
        let under_way = operations.iter().filter(|operation| operation.outcome.is_none());
        let begins = |kind| {
            use OperationKind::{VmCreate, VmRestart, VmStart};
            matches!(kind, VmCreate | VmStart | VmRestart)
        };
        let starts = operations.iter().filter(|operation| begins(operation.kind));
        let (mut panels, mut stages, mut hasher) = (Vec::new(), Vec::new(), DefaultHasher::new());
        for one in under_way {
            one.id.hash(&mut hasher);
            let name = format!("stages-{}", one.id);
            let html = self.follow(one.clone()).await?.show();
            let (title, cancel) = (operation::title(one), operation::cancel(&self.session, one));
            panels.push(html! { section.panel { h2 { (title) } (cancel) (slot(&name, &html)) } });
            stages.push(Piece { name: name.into(), within: Some("under-way"), key: None, html });
        }
        let html = html! { @for panel in panels { (panel) } };
        let under_way = Piece { key: Some(hasher.finish()), ..piece("under-way", html) };
        // What was begun last may not have come to that, or have found that it runs.
        let mut last_start = Vec::new();
        for start in starts.take(MOST_STARTS) {
            let found = &self.follow(start.clone()).await?.view.stages;
            if found.iter().any(|stage| stage.name == "boot") {
                last_start.clone_from(found);
                break;
            }
        }
        self.followed.retain(|id, _| operations.iter().any(|operation| operation.id == *id));
        self.ask_for_ports(&vm).await;
        let ports = match &self.ports {
            Some((_, Ok(ports))) => pages::vm::ports(&vm, ports),
            Some((_, Err(error))) => html! { p { (plain(&error.message)) } },
            None if vm.run.is_some() => html! { p { "Its agent has not answered yet." } },
            None => html! { p { "It does not run." } },
        };
        let pieces = vec![
            piece("state", pages::vm::state(&vm)),
            piece("acts", pages::vm::acts(&self.session, &vm)),
            under_way,
            piece("usage", vm::usage(&vm, stats)),
            piece("charts", html! { @if vm.run.is_some() { (self.history.show()) } }),
            piece("ready", ready(&last_start)),
            piece("ports", ports),
            piece("spec", vm::spec(&vm)),
        ];
        Ok(pieces.into_iter().chain(stages).collect())
    }

    async fn follow(&mut self, operation: Operation) -> Result<&Followed, ApiError> {
        let id = operation.id.clone();
        let followed = self.followed.entry(id).or_insert_with(|| Followed::new(operation));
        followed.advance(&self.console.engine).await?;
        Ok(followed)
    }

    async fn ask_for_ports(&mut self, vm: &Vm) {
        if vm.run.as_ref().is_none_or(|run| run.boot_id.is_none()) {
            self.ports = None;
        } else if self.ports.as_ref().is_none_or(|(at, _)| at.elapsed() > PORTS_PAUSE) {
            let late = || {
                let message = "The guest does not say what listens in it.";
                Err(ApiError::new(ErrorKind::Internal, message))
            };
            let asked = tokio::time::timeout(PORTS_LIMIT, self.console.engine.ports(vm)).await;
            self.ports = Some((Instant::now(), asked.unwrap_or_else(|_| late())));
        }
    }

    async fn operation(&mut self, key: &str) -> Result<Vec<Piece>, ApiError> {
        let session = self.session.clone();
        let operation = operation::find(&self.console.engine, key).await?;
        let followed = self.follow(operation).await?;
        let over = followed.operation.outcome.is_some();
        let acts = html! { @if !over { (operation::cancel(&session, &followed.operation)) } };
        let pieces = vec![
            piece("acts", acts),
            piece("stages", followed.show()),
            piece("output", followed.output()),
        ];
        self.over = over;
        Ok(pieces)
    }
}

/// How long the stages of the last start took.
fn ready(stages: &[StageView]) -> Markup {
    html! {
        @if stages.is_empty() { p { "It was not started lately." } }
        @else { (waterfall(stages)) }
    }
}
