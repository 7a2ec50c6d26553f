//! What VMs take of the host, and what works on it.

use banger_core::api::DaemonStatus;
use banger_core::dashboard::{HostUse, Pressure};
use banger_core::doctor::{Check, Status};
use maud::{Markup, html};

use super::since;
use crate::clock::now;

fn class(pressure: Pressure) -> &'static str {
    match pressure {
        Pressure::Green => "green",
        Pressure::Yellow => "yellow",
        Pressure::Red => "red",
    }
}

/// What the colour means, for those who do not see it.
fn word(pressure: Pressure) -> &'static str {
    match pressure {
        Pressure::Green => "enough is left",
        Pressure::Yellow => "it gets scarce",
        Pressure::Red => "all but gone",
    }
}

/// CPUs, memory and disk, each with how near it is to its end.
pub fn cards(host: &HostUse) -> Markup {
    let capacity = &host.capacity;
    let full = capacity.disk.as_bytes().saturating_sub(capacity.disk_free.as_bytes());
    let cards = [
        (
            "CPU",
            format!("{} of {}", host.vcpus, capacity.cpus),
            "virtual CPUs of running VMs, of the host's".to_owned(),
            (host.vcpus, capacity.cpus),
            host.pressure.cpu,
        ),
        (
            "Memory",
            format!("{} of {}", host.memory, capacity.memory),
            "of running VMs, of the host's".to_owned(),
            (host.memory.as_bytes(), capacity.memory.as_bytes()),
            host.pressure.memory,
        ),
        (
            "Disk",
            format!("{} free", capacity.disk_free),
            format!("of {}; VMs take {}", capacity.disk, host.disk),
            (full, capacity.disk.as_bytes()),
            host.pressure.disk,
        ),
    ];
    html! {
        div.cards {
            @for (name, value, detail, (taken, of), pressure) in cards {
                section.card {
                    h2 { (name) }
                    p.big { (value) }
                    progress class=(class(pressure)) max=(of.max(1)) value=(taken.min(of))
                        aria-label=(format!("{name}: {}", word(pressure))) {}
                    p.note { (detail) @if pressure != Pressure::Green { " · " (word(pressure)) } }
                }
            }
        }
    }
}

/// Whether something works, and what to do if not.
fn check(check: &Check) -> Markup {
    let (class, word) = match check.status {
        Status::Ok => ("green", "ready"),
        Status::Warning => ("yellow", "not ready"),
        Status::Missing => ("red", "missing"),
    };
    html! {
        li {
            span class=(format!("badge {class}")) { (check.name) ": " (word) }
            " " (check.detail)
            @if let Some(remedy) = &check.remedy { p.remedy { "What to do: " code { (remedy) } } }
        }
    }
}

/// KVM, sudo, and the daemon.
pub fn readiness(checks: &[Check], daemon: &DaemonStatus) -> Markup {
    html! {
        ul.checks {
            @for one in checks { (check(one)) }
            li {
                span.badge.green { "daemon: runs" } " version " (daemon.version) " " (daemon.build)
                ", for " (since(daemon.started_at, now())) " by now"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_core::dashboard::Capacity;
    use banger_core::size::Size;

    #[test]
    fn what_gets_scarce_is_said_in_words_too() {
        let capacity = Capacity {
            cpus: 4,
            memory: Size::gib(16),
            disk: Size::gib(100),
            disk_free: Size::gib(5),
        };
        let shown = cards(&HostUse::of(capacity, [], Size::gib(7))).0.replace("><", ">\n<");
        insta::assert_snapshot!(shown, @r#"
        <div class="cards">
        <section class="card">
        <h2>CPU</h2>
        <p class="big">0 of 4</p>
        <progress class="green" max="4" value="0" aria-label="CPU: enough is left">
        </progress>
        <p class="note">virtual CPUs of running VMs, of the host's</p>
        </section>
        <section class="card">
        <h2>Memory</h2>
        <p class="big">0 B of 16 GiB</p>
        <progress class="green" max="17179869184" value="0" aria-label="Memory: enough is left">
        </progress>
        <p class="note">of running VMs, of the host's</p>
        </section>
        <section class="card">
        <h2>Disk</h2>
        <p class="big">5 GiB free</p>
        <progress class="red" max="107374182400" value="102005473280" aria-label="Disk: all but gone">
        </progress>
        <p class="note">of 100 GiB; VMs take 7 GiB · all but gone</p>
        </section>
        </div>
        "#);
    }

    #[test]
    fn what_does_not_work_comes_with_what_to_do() {
        let one = Check::warning("KVM", "no <device>").remedy("modprobe kvm_intel");
        insta::assert_snapshot!(check(&one).into_string(), @r#"<li><span class="badge yellow">KVM: not ready</span> no &lt;device&gt;<p class="remedy">What to do: <code>modprobe kvm_intel</code></p></li>"#);
    }
}
