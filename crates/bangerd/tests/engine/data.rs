//! What a person keeps.

use std::fs;

use banger_core::api::ChangeVm;
use banger_core::dirs::vm_files;
use banger_core::operation::{Event, EventKind, Outcome};
use banger_core::size::Size;
use banger_core::vm::{VmState, WaitFor};
use banger_testkit::Life;
use bangerd::engine::task::Wish;
use bangerd::store::operations;

use crate::scene::{Scene, ask, create};

#[test]
fn a_disk_removed_by_hand_is_told_and_not_made_anew() {
    let scene = Scene::new();
    scene.live(&Life::default(), async |engine| create(engine, false).await).unwrap();
    let vm = scene.check().remove(0);
    let dir = scene.world.dirs().vm(vm.id.as_str());
    for disk in [vm_files::work_disk(&dir), vm_files::overlay(&dir)] {
        let aside = disk.with_extension("aside");
        fs::rename(&disk, &aside).unwrap();
        scene
            .live(&Life::default(), async |engine| {
                let Outcome::Failed { failure } =
                    ask(engine, "dev", Wish::Start(WaitFor::Agent)).await
                else {
                    panic!("started without {}", disk.display());
                };
                let told = format!("the VM's disk {} is gone", disk.display());
                assert!(failure.message.starts_with(&told), "{failure:?}");
                let larger = ChangeVm { disk: Some(Size::gib(9)), ..ChangeVm::default() };
                let refused = engine.change(&vm.id, larger).await.unwrap_err();
                assert!(refused.message.contains(&told), "{refused:?}");
                let still = engine.vm("dev").await.unwrap().vm;
                assert_eq!((still.state, still.spec), (vm.state.clone(), vm.spec.clone()));
            })
            .unwrap();
        assert!(!disk.exists());
        fs::rename(aside, disk).unwrap();
    }
    scene.use_and_delete(&scene.check());
}

#[test]
fn a_guest_that_does_not_boot_well_is_booted_again() {
    let scene = Scene::new();
    let lived = scene.live(&Life::default(), async |engine| {
        scene.world.boot_badly(2);
        create(engine, true).await;
        let vm = engine.vm("dev").await.unwrap().vm;
        assert_eq!(vm.state, VmState::Running);
        scene.world.boot_badly(3);
        let Outcome::Failed { failure } = ask(engine, "dev", Wish::Restart(WaitFor::Agent)).await
        else {
            panic!("started with a wrong timer");
        };
        assert_eq!(
            failure.message,
            "the guest did not boot well: the kernel measured its timer wrong: 0 Hz"
        );
        let read = engine.store.run(|db| operations::events_after(db, None, 0, 9999, 9999));
        let events = read.await.unwrap();
        let warned = |event: &&Event| matches!(event.kind, EventKind::Warning { .. });
        assert_eq!(events.iter().filter(warned).count(), 4);
    });
    lived.unwrap();
    scene.use_and_delete(&scene.check());
}

/// The name of one VM may be the id of another; and a name may pass from one to another.
#[test]
fn a_delete_takes_the_disk_that_was_meant_and_no_other() {
    let scene = Scene::new();
    let kept = scene
        .live(&Life::default(), async |engine| {
            create(engine, false).await;
            let first = engine.vm("dev").await.unwrap().vm.id;
            let name = Some("old".parse().unwrap());
            engine.change(&first, ChangeVm { name, ..ChangeVm::default() }).await.unwrap();
            create(engine, true).await;
            let second = engine.vm("dev").await.unwrap().vm.id;
            let name = Some(first.as_str().parse().unwrap());
            engine.change(&second, ChangeVm { name, ..ChangeVm::default() }).await.unwrap();
            assert_eq!(engine.vm(first.as_str()).await.unwrap().vm.id, first);
            ask(engine, first.as_str(), Wish::Delete).await;
            second
        })
        .unwrap();
    let left = scene.check();
    assert_eq!(left.iter().map(|vm| &vm.id).collect::<Vec<_>>(), [&kept]);
    assert_eq!(left[0].state, VmState::Running);
}
