//! Several clients that want different things of one VM at once.

use std::time::Duration;

use banger_core::api::{ApiError, CreateVm, ErrorKind};
use banger_core::operation::Outcome;
use banger_core::vm::WaitFor;
use banger_testkit::Life;
use bangerd::engine::Engine;
use bangerd::engine::task::Wish;
use proptest::prelude::*;

use crate::scene::{Scene, end_of};

/// What a client does, and how long after what it did before.
#[derive(Debug, Clone)]
struct Act {
    /// Create the VM if none.
    request: Option<Wish>,
    cancel: bool,
    pause_us: u64,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let request = prop_oneof![
        3 => Just(None),
        3 => Just(Some(Wish::Start(WaitFor::Agent))),
        2 => Just(Some(Wish::Stop)),
        1 => Just(Some(Wish::Restart(WaitFor::Agent))),
        1 => Just(Some(Wish::Kill)),
        1 => Just(Some(Wish::Delete)),
    ];
    let act = (request, prop::bool::weighted(0.2), 0_u64..8_000)
        .prop_map(|(request, cancel, pause_us)| Act { request, cancel, pause_us });
    prop::collection::vec(act, 1..8)
}

async fn client(engine: &Engine, acts: &[Act]) {
    for act in acts {
        tokio::time::sleep(Duration::from_micros(act.pause_us)).await;
        let begun = match act.request.clone() {
            None => {
                let create = CreateVm {
                    name: Some("dev".parse().unwrap()),
                    start: Some(WaitFor::Agent),
                    opencode: Some(false),
                    ..serde_json::from_str("{}").unwrap()
                };
                engine.create(create).await
            }
            Some(request) => match engine.vm("dev").await {
                Ok(row) => engine.request(&row.vm.id, request).await,
                Err(error) => Err(error),
            },
        };
        match begun {
            Ok(operation) => {
                if act.cancel {
                    engine.cancel(&operation);
                }
                if let Outcome::Failed { failure } = end_of(engine, operation).await {
                    let by_others = ["the VM was removed", "ended while it was starting"];
                    let told = by_others.iter().any(|why| failure.message.contains(why));
                    assert!(told && failure.rollback.is_empty(), "{failure:?}");
                }
            }
            Err(ApiError { kind: ErrorKind::Conflict | ErrorKind::NotFound, .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_they_do_the_vm_is_whole_or_gone(clients in prop::collection::vec(acts(), 3)) {
        let scene = Scene::new();
        scene
            .live(&Life::default(), async |engine| {
                let [a, b, c] = &clients[..] else { unreachable!() };
                tokio::join!(client(engine, a), client(engine, b), client(engine, c));
                // A guest may end after its stop was cancelled: that is put away by the way.
                let settled = async {
                    while scene.world.running().len() != 2 * engine.active_vms() {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                };
                let _ = tokio::time::timeout(Duration::from_secs(10), settled).await;
            })
            .unwrap();
        // No daemon has to put anything right.
        scene.use_and_delete(&scene.check());
    }
}
