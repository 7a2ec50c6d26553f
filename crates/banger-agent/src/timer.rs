//! Whether the kernel knows how fast its timer runs.
//!
//! Without another timer to go by, the kernel measures the APIC's against the
//! time stamp counter in its first 100 ms (`calibrate_APIC_clock` in
//! arch/x86/kernel/apic/apic.c). If the host takes the processor away just
//! then, it measures much too little: timers fire at once, the guest is busy
//! with nothing else, and its time-outs mean nothing for as long as it runs.

use crate::init::InitError;

/// By how much the frequency may be wrong: timers are late or early by as much.
const TOLERANCE_PERCENT: u64 = 25;

/// Fails unless the APIC's timer in `/proc/timer_list` is as fast as expected.
/// One that is not in it was given up; a kernel without that list is trusted.
pub(crate) fn check(timers: &str, expected: u64) -> Result<(), InitError> {
    let found = frequency(timers).unwrap_or(0);
    if timers.is_empty() || found.abs_diff(expected) <= expected / 100 * TOLERANCE_PERCENT {
        return Ok(());
    }
    Err(InitError::Timer { found, expected })
}

/// In Hz: a clock event device counts `ns * mult >> shift` ticks.
fn frequency(timers: &str) -> Option<u64> {
    let mut lines = timers.lines().skip_while(|line| *line != "Clock Event Device: lapic");
    let mut value = |key: &str| {
        let line = lines.by_ref().map(str::trim).find(|line| line.starts_with(key))?;
        line[key.len()..].trim().parse::<u128>().ok()
    };
    let (mult, shift) = (value("mult:")?, u32::try_from(value("shift:")?).ok()?);
    u64::try_from((mult * 1_000_000_000).checked_shr(shift)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "Tick Device: mode:     1\nPer CPU device: 0\nClock Event Device: lapic\n \
        max_delta_ns:   34359738428\n min_delta_ns:   1000\n mult:           MULT\n \
        shift:          32\n mode:           3\n";

    #[test]
    fn a_timer_may_be_a_little_wrong() {
        let of = |mult: &str| check(&LIST.replace("MULT", mult), 62_500_000);
        assert_eq!(frequency(&LIST.replace("MULT", "268435456")), Some(62_500_000));
        for mult in ["268435456", "238630530", "289601054"] {
            assert!(of(mult).is_ok(), "{mult}");
        }
        // As measured where a guest hung, and where its time ran away.
        for mult in ["459772", "14943830", "536870912", "0"] {
            assert!(of(mult).is_err(), "{mult}");
        }
    }

    #[test]
    fn a_timer_that_was_given_up_is_wrong() {
        assert!(check("Clock Event Device: hpet\n mult: 1\n shift: 32\n", 62_500_000).is_err());
        assert!(check("", 62_500_000).is_ok());
    }
}
