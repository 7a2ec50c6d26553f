//! What this host is.

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Whether KVM can run a stock kernel here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kvm {
    /// It can.
    Usable,
    /// It cannot, and why.
    Unusable(String),
}

/// Looks for hardware virtualisation: the device alone does not tell, since
/// kvm_pvm offers it without being able to run stock kernels.
#[must_use]
pub fn kvm() -> Kvm {
    kvm_at(Path::new("/dev/kvm"), Path::new("/sys/module"))
}

pub(crate) fn kvm_at(device: &Path, modules: &Path) -> Kvm {
    if !device.exists() {
        return Kvm::Unusable(format!("{} does not exist", device.display()));
    }
    if !["kvm_intel", "kvm_amd"].iter().any(|module| modules.join(module).exists()) {
        return Kvm::Unusable(
            "neither kvm_intel nor kvm_amd is loaded: KVM here is not hardware virtualisation"
                .into(),
        );
    }
    match std::fs::File::options().read(true).write(true).open(device) {
        Ok(_) => Kvm::Usable,
        Err(error) => Kvm::Unusable(format!(
            "cannot open {}: {error} (is this user in the group kvm?)",
            device.display()
        )),
    }
}

/// The kernel's id of the host's current boot.
///
/// # Errors
/// `/proc` cannot be read.
pub fn boot_id() -> std::io::Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(text.trim().to_owned())
}

/// The frequency of the host's time stamp counter in kHz, measured once over
/// a fifth of a second. Emulated guests see this counter and have no timer to
/// calibrate it by.
#[must_use]
pub fn tsc_khz() -> u64 {
    static KHZ: OnceLock<u64> = OnceLock::new();
    *KHZ.get_or_init(|| {
        let (start, first) = now_and_ticks();
        std::thread::sleep(Duration::from_millis(200));
        let (end, last) = now_and_ticks();
        let elapsed = (end - start).as_nanos().max(1);
        let ticks = u128::from(last.wrapping_sub(first));
        u64::try_from(ticks * 1_000_000 / elapsed).unwrap_or(u64::MAX)
    })
}

/// The time and the counter at one moment: of several tries, the one in which
/// we were not interrupted between the two.
fn now_and_ticks() -> (Instant, u64) {
    let read = |_| {
        let (before, now, after) = (rdtsc(), Instant::now(), rdtsc());
        (after.wrapping_sub(before), now, before)
    };
    let (_, now, ticks) =
        (1..50).map(read).fold(read(0), |best, next| if next.0 < best.0 { next } else { best });
    (now, ticks)
}

#[expect(unsafe_code, reason = "the counter has no safe wrapper")]
fn rdtsc() -> u64 {
    // SAFETY: RDTSC exists on every x86_64 and reads a register.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_its_module_is_not_kvm() {
        let dir = tempfile::tempdir().unwrap();
        let device = dir.path().join("kvm");
        let reason = |kvm| match kvm {
            Kvm::Usable => String::from("usable"),
            Kvm::Unusable(reason) => reason,
        };
        assert!(reason(kvm_at(&device, dir.path())).contains("does not exist"));
        std::fs::write(&device, "").unwrap();
        assert!(reason(kvm_at(&device, dir.path())).contains("neither kvm_intel"));
        std::fs::create_dir(dir.path().join("kvm_amd")).unwrap();
        assert_eq!(kvm_at(&device, dir.path()), Kvm::Usable);
    }

    #[test]
    fn the_counter_runs_at_a_plausible_rate() {
        assert!((100_000..20_000_000).contains(&tsc_khz()), "{}", tsc_khz());
    }
}
