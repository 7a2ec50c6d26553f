use super::*;
use banger_exec::{Cancel, HostRunner, Runner as _, Tools};
use tempfile::TempDir;

use crate::elf::tests::kernel as elf;

struct Silent;

impl Reporter for Silent {
    fn stage(&self, _: &str) {}
    fn progress(&self, _: u64, _: Option<u64>) {}
    fn log(&self, _: &str) {}
}

/// A person's files: a root with an init and a module, and a kernel.
struct Files {
    dir: TempDir,
    request: RegisterRequest,
}

const BUILT_IN: &str =
    "ext4.ko\nvirtio_net.ko\nvirtio-rng.ko\nvirtio_mmio.ko\nvmw_vsock_virtio_transport.ko\n";

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["tree/usr/sbin", "tree/usr/lib/runit", "tree/usr/lib/modules/6.1-test"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        for (name, to) in [("sbin", "usr/sbin"), ("lib", "usr/lib")] {
            symlink(to, at("tree").join(name)).unwrap();
        }
        fs::write(at("tree/usr/sbin/init"), "").unwrap();
        fs::write(at("tree/usr/lib/runit/runit-init"), "").unwrap();
        let modules = at("tree/usr/lib/modules/6.1-test");
        fs::write(modules.join("modules.dep"), "virtio_blk.ko:\n").unwrap();
        fs::write(modules.join("modules.builtin"), BUILT_IN).unwrap();
        fs::write(modules.join("virtio_blk.ko"), "\0vermagic=6.1-test SMP\0").unwrap();
        fs::write(at("agent"), crate::elf::tests::elf(1, b"")).unwrap();
        let request = RegisterRequest {
            name: "mine".parse().unwrap(),
            rootfs: at("root"),
            kernel: at("kernel"),
            initramfs: None,
            modules: None,
            boot_args: None,
            work_seed: None,
            created_at: 0,
        };
        let files = Self { dir, request };
        files.kernel("6.1-test", "");
        files.make_root();
        files
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn kernel(&self, release: &str, drivers: &str) {
        let mut kernel = elf(0);
        kernel.extend(b"Linux version %s\0");
        kernel.extend(format!("Linux version {release} (me@here) {drivers}\0").bytes());
        fs::write(self.at("kernel"), kernel).unwrap();
    }

    fn make_root(&self) {
        let _ = fs::remove_file(self.at("root"));
        let mke2fs = Command::new(Tool::Mke2fs).args(["-q", "-t", "ext4", "-d"]);
        let mke2fs = mke2fs.args([self.at("tree"), self.at("root")]).arg("8M");
        HostRunner::new(Tools::discover()).capture(&mke2fs).unwrap();
    }

    fn register(&self) -> Result<(TempDir, Image), String> {
        let staging = tempfile::tempdir().unwrap();
        let runner = HostRunner::new(Tools::discover());
        let env = BuildEnv {
            runner: &runner,
            agent: &self.at("agent"),
            cache: self.dir.path(),
            scratch: self.dir.path(),
            open: self.dir.path(),
            cancel: Cancel::default(),
        };
        match register(ImageId::from_bits(1), &self.request, &env, staging.path(), &Silent) {
            Ok(image) => Ok((staging, image)),
            Err(error) => Err(error.to_string().replace(self.dir.path().to_str().unwrap(), "")),
        }
    }

    fn refused(&self) -> String {
        self.register().unwrap_err()
    }
}

#[test]
fn files_stay_where_they_are_and_the_initramfs_is_made_of_the_roots_modules() {
    let mut files = Files::new();
    let (staging, image) = files.register().unwrap();
    assert_eq!(image.boot_set.kernel_release, "6.1-test");
    assert_eq!((image.rootfs_size.as_bytes(), image.companion), (8 << 20, false));
    let place = image.in_place.unwrap();
    assert_eq!(place.kernel.as_deref(), files.at("kernel").to_str());
    assert_eq!(fs::read_link(staging.path().join("rootfs.ext4")).unwrap(), files.at("root"));
    let archive = fs::read(staging.path().join("initramfs.cpio")).unwrap();
    let entries = cpio::read(&archive).unwrap();
    assert!(entries.iter().any(|entry| entry.path == "lib/modules/virtio_blk.ko"));
    let stamped = image.parts.iter().map(|part| (part.name.as_str(), part.stamp.is_some()));
    assert_eq!(
        stamped.collect::<Vec<_>>(),
        [("vmlinux", true), ("initramfs.cpio", false), ("rootfs.ext4", true)]
    );

    // With an initramfs of the person's own, and a work seed.
    fs::write(files.at("initrd"), b"070701 and so on").unwrap();
    files.request.initramfs = Some(files.at("initrd"));
    files.request.work_seed = Some(files.at("root"));
    let (staging, image) = files.register().unwrap();
    assert_eq!(image.boot_set.agent_version, None);
    assert_eq!(image.in_place.unwrap().initramfs.as_deref(), files.at("initrd").to_str());
    assert_eq!(image.parts[3].name, "work-seed.ext4");
    assert!(!staging.path().join("work-seed.ext4").is_symlink());
}

#[test]
fn a_kernel_needs_its_modules_or_has_them_built_in() {
    let files = Files::new();
    fs::remove_dir_all(files.at("tree/usr/lib/modules")).unwrap();
    files.make_root();
    insta::assert_snapshot!(files.refused(), @"/kernel cannot be the kernel of an image: it has no virtio_mmio built in, and there are no modules for Linux 6.1-test: neither in the root file system nor by '--modules'");
    files.kernel("6.1-test", "virtio-mmio virtio_blk ext4 vmw_vsock_virtio_transport");
    files.register().unwrap();
}

#[test]
fn what_cannot_boot_is_refused_with_the_reason() {
    let mut files = Files::new();
    files.kernel("6.2-other", "");
    files.request.modules = Some(files.at("tree/usr/lib/modules/6.1-test"));
    insta::assert_snapshot!(files.refused(), @"/tree/usr/lib/modules/6.1-test cannot be the modules of an image: virtio_blk.ko is for Linux 6.1-test, and the kernel is 6.2-other");
    files.request.modules = Some(files.at("tree"));
    insta::assert_snapshot!(files.refused(), @"/tree cannot be the modules of an image: it has no modules.dep");
    files.request.modules = None;
    fs::write(files.at("kernel"), b"MZ").unwrap();
    insta::assert_snapshot!(files.refused(), @"/kernel cannot be the kernel of an image: the kernel is neither an ELF nor a bzImage");
    fs::remove_file(files.at("tree/usr/lib/runit/runit-init")).unwrap();
    files.make_root();
    insta::assert_snapshot!(files.refused(), @"/root cannot be the root file system of an image: it has no systemd, OpenRC or runit, one of which must start its services");
    fs::remove_file(files.at("tree/usr/sbin/init")).unwrap();
    files.make_root();
    insta::assert_snapshot!(files.refused(), @"/root cannot be the root file system of an image: it has no init (/sbin/init, /usr/lib/systemd/systemd, /bin/init)");
    fs::write(files.at("root"), b"\x1f\x8b").unwrap();
    insta::assert_snapshot!(files.refused(), @"/root cannot be the root file system of an image: it is compressed with gzip, and not an ext4 file system");
    files.request.rootfs = "/dev/null".into();
    insta::assert_snapshot!(files.refused(), @"/dev/null cannot be the root file system of an image: it is no file");
    files.request.rootfs = files.at("none");
    insta::assert_snapshot!(files.refused(), @"cannot read /none");
    files.request.boot_args = Some("a\nb".to_owned());
    insta::assert_snapshot!(files.refused(), @r"
    'a
    b' is not a kernel's command line: it has control characters
    ");
}

#[test]
fn an_initramfs_is_an_archive() {
    let mut files = Files::new();
    files.request.initramfs = Some(files.at("kernel"));
    insta::assert_snapshot!(files.refused(), @"/kernel cannot be the initramfs of an image: it is neither a cpio archive nor a compressed one");
}
