use banger_core::vm::{StopCause, VmState};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::*;
use crate::tui::tests::scene::{Scene, vm};

fn press(form: &mut Form, code: KeyCode) {
    form.key(KeyEvent::new(code, KeyModifiers::NONE));
}

/// Writes something else into a field.
fn write(form: &mut Form, id: Id, text: &str) {
    form.focus = form.fields.iter().position(|field| field.id == id).unwrap();
    (0..40).for_each(|_| press(form, KeyCode::Backspace));
    form.paste(text);
}

/// What is wrong: `memory: it is empty`.
fn wrong(form: &Form, scene: &Scene) -> String {
    let errors = form.errors(&scene.model);
    let fields = form.fields.iter().zip(errors);
    let told = fields.filter_map(|(field, error)| Some(format!("{}: {}", field.label, error?)));
    told.collect::<Vec<_>>().join("; ")
}

#[test]
fn each_field_is_told_of_its_own() {
    let scene = Scene::usual((80, 24));
    let mut form = Form::create(&scene.model, None);
    assert_eq!(wrong(&form, &scene), "");
    let mut told = Vec::new();
    for (id, text) in [
        (Id::Name, "Dev"),
        (Id::Name, "ci"),
        (Id::Name, "-"),
        (Id::Name, "開発"),
        (Id::Name, "new"),
        (Id::Vcpus, "x"),
        (Id::Vcpus, "33"),
        (Id::Vcpus, "2"),
        (Id::Memory, "1X"),
        (Id::Memory, ""),
        (Id::Memory, "1M"),
        (Id::Memory, "1G"),
        (Id::Disk, "9999T"),
    ] {
        write(&mut form, id, text);
        told.push(format!("{text} → {}", wrong(&form, &scene)));
    }
    insta::assert_snapshot!(told.join("\n"), @"
    Dev → name: use lowercase letters only
    ci → name: 'ci' is taken
    - → name: it must not start or end with '-'
    開発 → name: use only letters, digits and '-'
    new → 
    x → vcpus: write a number
    33 → vcpus: 33 vcpus is not possible: choose 1 to 32
    2 → 
    1X → memory: write a size such as 512M or 8G
     → memory: it is empty
    1M → memory: 1 MiB of memory is not possible: choose 256 MiB to 1 TiB
    1G → 
    9999T → work disk: a work disk of 9999 TiB is not possible: choose 256 MiB to 64 TiB
    ");
    assert_eq!(form.request(&scene.model), None);
}

#[test]
fn an_image_needs_a_name_that_is_free() {
    let scene = Scene::usual((80, 24));
    let mut form = Form::build();
    assert_eq!(wrong(&form, &scene), "name: 'debian' is taken");
    press(&mut form, KeyCode::Char('v'));
    assert_eq!((form.text(Id::Distribution), wrong(&form, &scene).as_str()), ("void", ""));
    write(&mut form, Id::Size, "1M");
    let refused = "size: a root file system of 1 MiB is not possible: choose 512 MiB to 4 TiB";
    assert_eq!(wrong(&form, &scene), refused);
    let mut form = Form::pull();
    assert_eq!(wrong(&form, &scene), "reference: it is empty");
    write(&mut form, Id::Reference, "host:5000/team/dev-tools:1");
    assert_eq!(wrong(&form, &scene), "name: 'dev-tools' is taken");
}

#[test]
fn the_preview_says_what_the_host_will_bear() {
    // 4 CPUs and 16 GiB, of which one VM has 2 and 1 GiB; 60 GiB of disk are free.
    let scene = Scene::usual((80, 24));
    let mut form = Form::create(&scene.model, None);
    let mut shown = Vec::new();
    for (vcpus, memory, disk) in
        [("2", "1G", "8G"), ("4", "12G", "50G"), ("9", "15G", "1T"), ("x", "", "")]
    {
        write(&mut form, Id::Vcpus, vcpus);
        write(&mut form, Id::Memory, memory);
        write(&mut form, Id::Disk, disk);
        let lines = form.preview(&scene.model);
        shown.extend(lines.into_iter().map(|line| format!("{:?}: {}", line.pressure, line.text)));
    }
    insta::assert_snapshot!(shown.join("\n"), @"
    Green: CPU   4 vcpus would run on 4 CPUs
    Green: RAM   2 GiB of 16 GiB would be reserved
    Green: disk  up to 8 GiB more, 60 GiB are free
    Yellow: CPU   6 vcpus would run on 4 CPUs
    Yellow: RAM   13 GiB of 16 GiB would be reserved
    Yellow: disk  up to 50 GiB more, 60 GiB are free
    Red: CPU   11 vcpus would run on 4 CPUs
    Red: RAM   16 GiB of 16 GiB would be reserved
    Red: disk  up to 1 TiB more, 60 GiB are free
    ");
    // What it has already is not taken again.
    let stopped = vm(2, "ci", VmState::Stopped(StopCause::New));
    let mut form = Form::resize(&stopped);
    write(&mut form, Id::Disk, "10G");
    assert!(form.preview(&scene.model)[2].text.starts_with("disk  up to 2 GiB more"));
}
