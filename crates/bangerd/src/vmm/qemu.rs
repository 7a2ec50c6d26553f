//! QEMU's microvm machine, with vsock by vhost-device-vsock.
//!
//! Sources: QEMU's docs/system/i386/microvm.rst and the invocation manual;
//! vhost-device-vsock's README.

use std::path::Path;

use banger_core::dirs::vm_files;
use banger_core::resource::{ResourceSpec, Role};
use banger_core::vm::{Limits, Network, RootDisk, Vm};

use crate::vmm::{Boot, GUEST_CID, Sockets};

/// The frequency at which an emulated guest's kernel drives its APIC timer: the
/// emulated bus' 1 GHz (hw/intc/apic.c), divided by 16 (the kernel's `APIC_DIVISOR`).
pub const APIC_TIMER_HZ: u64 = 62_500_000;

/// The vsock process, to be started before the VMM.
#[must_use]
pub fn vsock_process(sockets: &Sockets, log: &Path) -> ResourceSpec {
    let args = vec![
        "--guest-cid".to_owned(),
        GUEST_CID.to_string(),
        "--socket".to_owned(),
        text(&sockets.vhost),
        "--uds-path".to_owned(),
        text(&sockets.vsock),
    ];
    ResourceSpec::Process { role: Role::Vsock, args, log: log.to_owned() }
}

/// The VMM process.
#[must_use]
pub fn vmm_process(vm: &Vm, dir: &Path, sockets: &Sockets, boot: &Boot) -> ResourceSpec {
    let args = arguments(vm, dir, sockets, boot);
    ResourceSpec::Process { role: Role::Vmm, args, log: vm_files::vmm_log(dir) }
}

fn arguments(vm: &Vm, dir: &Path, sockets: &Sockets, boot: &Boot) -> Vec<String> {
    let memory = vm.spec.memory.as_mib();
    let (accel, cpu) = if boot.kvm { ("kvm", "host") } else { ("tcg,thread=multi", "max") };
    let root_format = match vm.spec.root_disk {
        RootDisk::Qcow2 => "qcow2",
        RootDisk::Clone | RootDisk::DmSnapshot => "raw",
    };
    let Limits { disk_bandwidth, disk_ops, .. } = vm.spec.limits;
    let bandwidth = disk_bandwidth.map(|rate| format!(",throttling.bps-total={}", rate.as_bytes()));
    let ops = disk_ops.map(|rate| format!(",throttling.iops-total={rate}"));
    let limits: String = [bandwidth, ops].into_iter().flatten().collect();
    let drive = |id: &str, format: &str, path: &Path| {
        format!(
            "if=none,id={id},format={format},cache=writeback,discard=unmap{limits},file={}",
            escape(path)
        )
    };
    let mut args = vec!["-name".to_owned(), format!("bgr-{}", vm.id.short())];
    let mut add = |option: &str, value: String| args.extend([option.to_owned(), value]);
    // The Debian kernel finds its virtio devices by ACPI only. Without PIT and
    // PIC the guest calibrates by the frequency that the boot args tell it.
    add("-M", "microvm,acpi=on,pit=off,pic=off,rtc=on,isa-serial=on,memory-backend=mem".to_owned());
    add("-accel", accel.to_owned());
    add("-cpu", cpu.to_owned());
    add("-smp", vm.spec.vcpus.to_string());
    add("-m", format!("{memory}M"));
    // Shared: the vsock process reads the guest's queues.
    add("-object", format!("memory-backend-memfd,id=mem,size={memory}M,share=on"));
    add("-kernel", text(&boot.kernel));
    add("-initrd", text(&boot.initramfs));
    add("-append", boot.boot_args.clone());
    add("-qmp", format!("unix:{},server=on,wait=off", escape(&sockets.qmp)));
    // A file, not a pipe to the daemon, which would stop the VM when the daemon ends.
    let console = vm_files::console(dir);
    add("-chardev", format!("file,id=console,append=on,path={}", escape(&console)));
    add("-serial", "chardev:console".to_owned());
    add("-drive", drive("root", root_format, &boot.root));
    add("-device", "virtio-blk-device,drive=root".to_owned());
    add("-drive", drive("work", "raw", &vm_files::work_disk(dir)));
    add("-device", "virtio-blk-device,drive=work".to_owned());
    match (vm.spec.network, &vm.lease) {
        (Network::User, _) => {
            add("-netdev", "user,id=net".to_owned());
            add("-device", "virtio-net-device,netdev=net".to_owned());
        }
        (Network::Nat, Some(lease)) => {
            add("-netdev", format!("tap,id=net,ifname={},script=no,downscript=no", lease.tap));
            add("-device", format!("virtio-net-device,netdev=net,mac={}", lease.mac));
        }
        (Network::None | Network::Nat, _) => {}
    }
    add("-device", "virtio-rng-device".to_owned());
    add("-chardev", format!("socket,id=vsock,path={}", escape(&sockets.vhost)));
    add("-device", "vhost-user-vsock-device,chardev=vsock".to_owned());
    add(
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny".to_owned(),
    );
    let flags = ["-nodefaults", "-no-user-config", "-nographic", "-no-reboot"];
    args.extend(flags.map(str::to_owned));
    args
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A path as the value of an option: a comma is doubled.
fn escape(path: &Path) -> String {
    text(path).replace(',', ",,")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use banger_core::id::{ImageId, VmId};
    use banger_core::net::Lease;
    use banger_core::size::Size;
    use banger_core::vm::{VmSpec, VmState, Vmm};

    pub(crate) fn vm(network: Network) -> Vm {
        Vm {
            id: VmId::from_bits(1),
            name: "dev".parse().unwrap(),
            spec: VmSpec {
                image: ImageId::from_bits(2),
                image_name: "debian".parse().unwrap(),
                vcpus: 2,
                memory: Size::gib(1),
                disk: Size::gib(8),
                network,
                opencode: false,
                vmm: Vmm::Qemu,
                overlay: None,
                limits: Limits::default(),
                root_disk: RootDisk::Qcow2,
                root_disk_reason: String::new(),
            },
            state: VmState::Defined,
            created_at: 0,
            complete: false,
            temporary: false,
            lease: (network == Network::Nat).then(|| Lease::of([172, 28, 5, 2].into())),
            run: None,
        }
    }

    fn line(network: Network) -> String {
        line_of(&vm(network))
    }

    fn line_of(vm: &Vm) -> String {
        let boot = Boot {
            kernel: "/i/vmlinux".into(),
            initramfs: "/r/initramfs.cpio".into(),
            ours: true,
            root: "/v,1/root.overlay".into(),
            boot_args: "quiet".into(),
            network: None,
            subnet: None,
            kvm: false,
        };
        let sockets = Sockets::in_dir(Path::new("/r"));
        arguments(vm, Path::new("/v,1"), &sockets, &boot).join(" ").replace(" -", "\n-")
    }

    #[test]
    fn the_machine_is_what_the_manual_says() {
        insta::assert_snapshot!(line(Network::User), @r"
        -name bgr-00000000
        -M microvm,acpi=on,pit=off,pic=off,rtc=on,isa-serial=on,memory-backend=mem
        -accel tcg,thread=multi
        -cpu max
        -smp 2
        -m 1024M
        -object memory-backend-memfd,id=mem,size=1024M,share=on
        -kernel /i/vmlinux
        -initrd /r/initramfs.cpio
        -append quiet
        -qmp unix:/r/qmp.sock,server=on,wait=off
        -chardev file,id=console,append=on,path=/v,,1/console.log
        -serial chardev:console
        -drive if=none,id=root,format=qcow2,cache=writeback,discard=unmap,file=/v,,1/root.overlay
        -device virtio-blk-device,drive=root
        -drive if=none,id=work,format=raw,cache=writeback,discard=unmap,file=/v,,1/work.ext4
        -device virtio-blk-device,drive=work
        -netdev user,id=net
        -device virtio-net-device,netdev=net
        -device virtio-rng-device
        -chardev socket,id=vsock,path=/r/vhost.sock
        -device vhost-user-vsock-device,chardev=vsock
        -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
        -nodefaults
        -no-user-config
        -nographic
        -no-reboot
        ");
    }

    /// Firecracker's default, and QEMU's `unsafe`, would lose what a guest has synced.
    #[test]
    fn every_disk_honours_the_guests_flushes() {
        let line = line(Network::User);
        assert_eq!(line.matches("\n-drive").count(), 2);
        assert_eq!(line.matches("cache=writeback").count(), 2);
    }

    #[test]
    fn a_tap_is_opened_and_not_made() {
        let line = line(Network::Nat);
        let told: Vec<_> = line.lines().filter(|line| line.contains("net")).collect();
        insta::assert_snapshot!(told.join("\n"), @"
        -netdev tap,id=net,ifname=bgr-ac1c0502,script=no,downscript=no
        -device virtio-net-device,netdev=net,mac=06:00:ac:1c:05:02
        ");
    }

    #[test]
    fn disks_are_as_fast_as_they_may_be() {
        let mut vm = vm(Network::None);
        vm.spec.limits = Limits {
            disk_bandwidth: Some(Size::mib(10)),
            disk_ops: Some(500),
            ..Limits::default()
        };
        let limits = "discard=unmap,throttling.bps-total=10485760,throttling.iops-total=500,file=";
        assert_eq!(line_of(&vm).matches(limits).count(), 2);
    }

    #[test]
    fn no_network_means_no_device() {
        assert!(!line(Network::None).contains("net"));
    }
}
