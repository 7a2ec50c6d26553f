//! What the daemon tells, for as long as the TUI lives: lists once for each connection, then events
//! and numbers as they come.

use std::time::Duration;

use banger_core::api::ImageInfo;
use banger_core::dashboard::{Dashboard, Tick};
use banger_core::dirs::Dirs;
use banger_core::operation::{Event, Operation};
use banger_core::vm::Vm;
use banger_wire::{Client, WireError};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::super::model::Snapshot;
use super::super::update::Input;
use crate::daemon;
use crate::error::chain;

/// How many of the last events are asked for at first.
const RECENT: u32 = 1000;
/// Between two tries to reach the daemon.
const PAUSE: Duration = Duration::from_millis(300);
/// A stream brings a sign of life in this time; events at least each 15 s.
const SILENCE: Duration = Duration::from_secs(5);
/// What a person is told who should have the TUI of the daemon's build.
const OTHER_BUILD: &str = "of another build: start 'banger tui' anew";

/// Why the connection ended.
enum End {
    /// The TUI is gone.
    Left,
    /// The daemon is.
    Broken(String),
}

impl From<WireError> for End {
    fn from(error: WireError) -> Self {
        Self::Broken(chain(&error))
    }
}

/// What is left of an event of a kind that we do not know.
#[derive(Deserialize)]
struct Unknown {
    seq: u64,
}

/// Feeds a model.
pub struct Feed {
    dirs: Dirs,
    to: mpsc::Sender<Input>,
    /// The last event that was seen.
    seen: Option<u64>,
    /// The daemon's build that the person was told of.
    told: Option<String>,
    silence: Duration,
}

impl Feed {
    /// That of the daemon of these folders.
    pub fn new(dirs: Dirs, to: mpsc::Sender<Input>) -> Self {
        Self { dirs, to, seen: None, told: None, silence: SILENCE }
    }

    /// Feeds the model until it is gone.
    pub async fn run(mut self) {
        loop {
            let Err(End::Broken(why)) = self.connection().await else { return };
            if self.give(Input::Away(why)).await.is_err() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn give(&self, input: Input) -> Result<(), End> {
        self.to.send(input).await.map_err(|_| End::Left)
    }

    /// One connection, from its begin to its end.
    async fn connection(&mut self) -> Result<(), End> {
        let client = daemon::client(&self.dirs);
        // In this order: what is listed has the effects of all events up to the status, and the
        // stream brings those since.
        let dashboard: Dashboard = client.get("/v1/dashboard").await?;
        let build = dashboard.daemon.build.clone();
        // Another database begins anew.
        let from = self.seen.filter(|seen| *seen <= dashboard.daemon.last_event);
        let mut events = match from {
            Some(seq) => client.events_after("/v1/events", seq).await?,
            None => client.events(&format!("/v1/events?recent={RECENT}")).await?,
        };
        let mut ticks = client.events("/v1/stats").await?;
        let snapshot = match lists(&client, dashboard).await {
            // It is not to be understood, and will not be.
            Err(WireError::Json { .. }) if build != daemon::BUILD => {
                return Err(End::Broken(OTHER_BUILD.to_owned()));
            }
            other => other?,
        };
        self.give(Input::Loaded(Box::new(snapshot))).await?;
        if build != daemon::BUILD && self.told.as_ref() != Some(&build) {
            self.told = Some(build);
            self.give(Input::Done(format!("the daemon is {OTHER_BUILD}"))).await?;
        }
        loop {
            tokio::select! {
                event = events.next::<Event>() => match event {
                    Ok(event) => {
                        let event = event.ok_or_else(gone)?;
                        self.seen = Some(event.seq);
                        self.give(Input::Event(Box::new(event))).await?;
                    }
                    // A later daemon tells of more than we know.
                    Err(WireError::Json { body, source }) => {
                        let Ok(Unknown { seq }) = serde_json::from_str(&body) else {
                            return Err(WireError::Json { body, source }.into());
                        };
                        self.seen = Some(seq);
                    }
                    Err(error) => return Err(error.into()),
                },
                tick = tokio::time::timeout(self.silence, ticks.next::<Tick>()) => {
                    let tick = tick.map_err(|_| End::Broken("it is silent".to_owned()))??;
                    self.give(Input::Tick(Box::new(tick.ok_or_else(gone)?))).await?;
                }
            }
        }
    }
}

fn gone() -> End {
    End::Broken("it ended".to_owned())
}

async fn lists(client: &Client, dashboard: Dashboard) -> Result<Snapshot, WireError> {
    let vms: Vec<Vm> = client.get("/v1/vms").await?;
    let images: Vec<ImageInfo> = client.get("/v1/images").await?;
    let operations: Vec<Operation> = client.get("/v1/operations?unfinished=true").await?;
    Ok(Snapshot { dashboard, vms, images, operations })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{UnixListener, UnixStream};

    use super::*;
    use crate::tui::tests::scene;

    /// A daemon whose last event can be set, that has two events and is silent then.
    #[derive(Clone)]
    struct Daemon {
        last_event: Arc<AtomicU64>,
        /// The requests for events.
        asked: mpsc::UnboundedSender<String>,
    }

    const EVENTS: &str = "data: {\"seq\":8,\"at_ms\":1,\"event\":\"warning\",\"message\":\"hot\"}\n\n\
        data: {\"seq\":9,\"at_ms\":1,\"event\":\"of_a_later_build\",\"what\":1}\n\n";

    impl Daemon {
        async fn serve(self, listener: UnixListener) {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(self.clone().answer(stream));
            }
        }

        async fn answer(self, mut stream: UnixStream) {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                head.push(char::from(stream.read_u8().await.unwrap()));
            }
            let body = if head.starts_with("GET /v1/dashboard ") {
                let mut dashboard = scene::snapshot(vec![], vec![]).dashboard;
                dashboard.daemon.last_event = self.last_event.load(Ordering::Relaxed);
                serde_json::to_string(&dashboard).unwrap()
            } else if head.starts_with("GET /v1/events") {
                self.asked.send(head).unwrap();
                return stay(stream, EVENTS).await;
            } else if head.starts_with("GET /v1/stats") {
                return stay(stream, "").await;
            } else {
                "[]".to_owned()
            };
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        }
    }

    /// Sends a stream that does not end before its reader goes.
    async fn stay(mut stream: UnixStream, text: &str) {
        stream.write_all(format!("HTTP/1.1 200 OK\r\n\r\n{text}").as_bytes()).await.unwrap();
        let _ = stream.read(&mut [0]).await;
    }

    fn dirs(at: &Path) -> Dirs {
        Dirs::from_env(|name| name.starts_with("XDG_").then(|| at.to_owned())).unwrap()
    }

    #[tokio::test]
    async fn a_silent_daemon_is_asked_again_from_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = dirs(dir.path());
        std::fs::create_dir_all(&dirs.run).unwrap();
        let (asked, mut requests) = mpsc::unbounded_channel();
        let daemon = Daemon { last_event: Arc::new(AtomicU64::new(9)), asked };
        tokio::spawn(daemon.clone().serve(UnixListener::bind(dirs.socket()).unwrap()));
        let (to, mut inputs) = mpsc::channel(16);
        let silence = Duration::from_millis(500);
        let feed = tokio::spawn(Feed { silence, ..Feed::new(dirs, to) }.run());
        let mut next = async || inputs.recv().await.unwrap();

        assert!(matches!(next().await, Input::Loaded(_)));
        assert!(matches!(next().await, Input::Done(what) if what.ends_with(OTHER_BUILD)));
        assert!(matches!(next().await, Input::Event(event) if event.seq == 8));
        // The other is none that we know: it is passed over, and not asked for again.
        assert!(matches!(next().await, Input::Away(why) if why == "it is silent"));
        assert!(requests.recv().await.unwrap().starts_with("GET /v1/events?recent=1000 "));

        assert!(matches!(next().await, Input::Loaded(_)));
        let again = requests.recv().await.unwrap();
        assert!(again.starts_with("GET /v1/events ") && again.contains("last-event-id: 9\r\n"));
        // A database that has not come so far is not the one that it was.
        daemon.last_event.store(3, Ordering::Relaxed);
        // It is told once that the daemon is another.
        assert!(matches!(next().await, Input::Event(_)));
        assert!(matches!(next().await, Input::Away(_)));
        assert!(matches!(next().await, Input::Loaded(_)));
        assert!(requests.recv().await.unwrap().starts_with("GET /v1/events?recent=1000 "));

        drop(inputs);
        feed.await.unwrap();
    }
}
