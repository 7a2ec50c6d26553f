//! An image that is not what was built.

use std::fs;

use crate::bad_host::without_stages;
use crate::fake::Guest;
use crate::harness::{As, Sandbox};

const PLAIN: [&str; 5] = ["--no-opencode", "--network", "none", "--memory", "512M"];

#[test]
fn a_damaged_image_is_told_before_anything_is_made_of_it() {
    let banger = Sandbox::with_fakes(Guest::Healthy);
    let create = ["vm", "create", "dev", "--wait", "agent"];
    let create = [&create, &PLAIN[..]].concat();
    let refused = || {
        let said = banger.fails(&create);
        assert_eq!(banger.leftovers(), Vec::<String>::new());
        without_stages(&said)
    };
    banger.ok(&["image", "show", "debian", "--verify"]);
    banger.ok(&[&["vm", "create", "before", "--no-start"], &PLAIN[..]].concat());
    banger.ok(&["vm", "delete", "--yes", "before"]);

    // The files of the image are links: each is put back as it was.
    let image = banger.image();
    let aside = banger.dir().join("aside");
    let with = |name: &str, content: Option<&dyn Fn(Vec<u8>) -> Vec<u8>>, then: &dyn Fn()| {
        fs::rename(image.join(name), &aside).unwrap();
        if let Some(content) = content {
            fs::write(image.join(name), content(fs::read(&aside).unwrap())).unwrap();
        }
        then();
        fs::rename(&aside, image.join(name)).unwrap();
    };
    for name in ["vmlinux", "initramfs.cpio", "rootfs.ext4"] {
        with(name, None, &|| {
            let said = refused();
            assert!(said.contains(&format!("{name} is missing")), "{said}");
        });
    }
    with("initramfs.cpio", Some(&|whole| whole[..1000].to_vec()), &|| {
        let said = refused();
        let (before, after) = said.split_once("was made with ").unwrap();
        let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
        insta::assert_snapshot!(format!("{before}was made with …{after}"), @r"
        1 error: the image 'debian' is damaged: /state/banger/images/ID/initramfs.cpio has 1000 bytes and was made with …
        hint: put a backup of /state/banger/images/ID/initramfs.cpio back, or build another image with 'banger image build debian --name NAME'; the VMs of this one cannot start without it
        ");
        let listed = banger.ok(&["image", "list"]);
        assert!(listed.contains("has 1000 bytes and was made with"), "{listed}");
        let doctor = banger.run(&["doctor"]).stdout;
        assert!(doctor.contains("! images"), "{doctor}");
    });
    // Of the same length: found by who reads it.
    with("initramfs.cpio", Some(&|whole| vec![0; whole.len()]), &|| {
        banger.ok(&["image", "show", "debian"]);
        let verified = banger.run(&["image", "show", "debian", "--verify"]);
        assert_eq!(verified.code, 1);
        let damage = verified.stdout.lines().last().unwrap().to_owned();
        assert!(damage.ends_with("initramfs.cpio does not hold what it was made with"), "{damage}");
    });
    // Whole again, it serves.
    banger.ok(&create);
    // A VM that is there loses nothing by an image that is damaged later.
    banger.ok(&["vm", "stop", "dev"]);
    with("rootfs.ext4", None, &|| {
        let said = without_stages(&banger.fails(&["vm", "start", "dev"]));
        assert!(said.contains("rootfs.ext4 is missing"), "{said}");
        let state = banger.json(&["vm", "show", "dev"])["state"].clone();
        assert_eq!(state["cause"], "start_failed");
    });
    banger.ok(&["vm", "start", "dev", "--wait", "agent"]);
}

/// A real kernel, which finds no init in what it gets.
#[test]
fn a_kernel_that_panics_is_told_with_its_last_words() {
    let banger = Sandbox::new(As::Me);
    let initramfs = banger.image().join("initramfs.cpio");
    let length = fs::metadata(&initramfs).unwrap().len();
    fs::remove_file(&initramfs).unwrap();
    fs::File::create(&initramfs).unwrap().set_len(length).unwrap();
    let said = banger.fails(&[&["vm", "create", "dev"], &PLAIN[..]].concat());
    assert!(said.contains("the guest's kernel panicked"), "{said}");
    assert!(said.contains("Kernel panic - not syncing: "), "{said}");
    assert_eq!(banger.leftovers(), Vec::<String>::new());
}
