//! VMs, as lists and pages show them.

use banger_core::api::Stats;
use banger_core::dashboard::Tick;
use banger_core::duration::duration;
use banger_core::vm::{Network, RootDisk, StopCause, Vm, VmState};
use maud::{Markup, html};

use super::{bytes, plain};

/// The state with its colour.
pub fn badge(state: &VmState) -> Markup {
    let class = match state {
        VmState::Running => "green",
        VmState::Paused(_) => "yellow",
        VmState::Failed { .. } | VmState::Stopped(StopCause::Crashed { .. }) => "red",
        VmState::Stopped(StopCause::StartFailed { .. }) => "red",
        VmState::Stopped(_) => "grey",
        _ => "blue",
    };
    html! { span class=(format!("badge {class}")) { (state.name()) } }
}

/// Why it is so, where that is worth a word.
pub fn cause(state: &VmState) -> Option<String> {
    let text = match state {
        VmState::Stopped(StopCause::New) => "it was never started".to_owned(),
        VmState::Stopped(StopCause::GuestShutdown) => "the guest shut itself down".to_owned(),
        VmState::Stopped(StopCause::Killed) => "it was killed on request".to_owned(),
        VmState::Stopped(StopCause::HostRebooted) => "the host was restarted".to_owned(),
        VmState::Stopped(StopCause::Crashed { detail }) => format!("it crashed: {detail}"),
        VmState::Stopped(StopCause::StartFailed { detail }) => {
            format!("its start failed: {detail}")
        }
        VmState::Paused(why) => why.to_string(),
        VmState::Failed { cause, removing: true } => {
            format!("it could not be deleted: {cause}; delete it again")
        }
        VmState::Failed { cause, removing: false } => {
            format!("its run could not be ended: {cause}; start or delete it")
        }
        _ => return None,
    };
    Some(plain(&text))
}

/// What one takes, in a line.
pub fn figures(stats: Option<&Stats>) -> String {
    let Some(stats) = stats else { return String::new() };
    let cpu = stats.cpu_percent.map(|share| format!("{share:.1} %"));
    let memory = stats.rss_bytes.map(bytes);
    [cpu, memory].into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

/// What a tick knows of a VM.
pub fn stats<'a>(tick: Option<&'a Tick>, vm: &Vm) -> Option<&'a Stats> {
    tick?.vms.iter().find(|stats| stats.vm == vm.id).map(|found| &found.stats)
}

/// The names of the pieces of a row that change.
pub fn pieces(vm: &Vm) -> [String; 2] {
    [format!("s-{}", vm.id.short()), format!("u-{}", vm.id.short())]
}

/// A row a VM. There may be hundreds: they are kept short.
pub fn table(vms: &[Vm], tick: Option<&Tick>) -> Markup {
    html! {
        @if vms.is_empty() {
            p { "There is no VM yet. " a href="/new/vm" { "Create one" } "." }
        } @else {
            div.wide tabindex="0" role="region" aria-label="VMs" {
                table {
                    thead { tr {
                        th scope="col" { "Name" } th scope="col" { "State" }
                        th scope="col" { "Image" } th scope="col" { "vCPUs" }
                        th scope="col" { "Memory" } th scope="col" { "Use" }
                    } }
                    tbody {
                        @for vm in vms {
                            @let [state, used] = pieces(vm);
                            tr {
                                td { a href=(format!("/vms/{}", vm.name)) { (vm.name.as_str()) } }
                                td sse-swap=(state) { (badge(&vm.state)) }
                                td { (vm.spec.image_name.as_str()) }
                                td { (vm.spec.vcpus) }
                                td { (vm.spec.memory) }
                                td sse-swap=(used) { (figures(stats(tick, vm))) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What it is made of.
pub fn spec(vm: &Vm) -> Markup {
    let spec = &vm.spec;
    let network = match spec.network {
        Network::User => "user: outbound only",
        Network::Nat => "nat",
        Network::None => "none",
    };
    let root_disk = match spec.root_disk {
        RootDisk::Qcow2 => "qcow2",
        RootDisk::Clone => "clone",
        RootDisk::DmSnapshot => "dm-snapshot",
    };
    super::facts([
        ("Id", html! { code { (vm.id.as_str()) } }),
        (
            "Image",
            html! { a href=(format!("/images/{}", spec.image)) { (spec.image_name.as_str()) } },
        ),
        ("vCPUs", html! { (spec.vcpus) }),
        ("Memory", html! { (spec.memory) }),
        ("Work disk", html! { (spec.disk) }),
        ("Root disk", html! { (root_disk) ": " (spec.root_disk_reason) }),
        (
            "Network",
            html! {
                (network) @if let Some(lease) = &vm.lease { ", " (lease.address) }
            },
        ),
        ("VMM", html! { (spec.vmm) }),
        ("opencode", html! { (if spec.opencode { "on" } else { "off" }) }),
    ])
}

/// What it takes now.
pub fn usage(vm: &Vm, stats: Option<&Stats>) -> Markup {
    let Some(stats) = stats else { return html! { p { "Not known yet." } } };
    let limit = vm.spec.overlay;
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    let moved = |a: u64, b: u64| format!("{} / {}", bytes(a), bytes(b));
    super::facts([
        ("CPU", html! { (or_none(stats.cpu_percent.map(|share| format!("{share:.1} %")))) }),
        ("Resident memory", html! { (or_none(stats.rss_bytes.map(bytes))) }),
        ("Uptime", html! { (or_none(stats.uptime_s.map(|s| duration(s * 1000)))) }),
        (
            "Root overlay",
            html! {
                (bytes(stats.disk.overlay_bytes))
                @if let Some(limit) = limit {
                    " of " (limit) " "
                    progress max=(limit.as_bytes().max(1))
                        value=(stats.disk.overlay_bytes.min(limit.as_bytes()))
                        aria-label="Root overlay, of its limit" {}
                }
            },
        ),
        ("Work disk", html! { (bytes(stats.disk.work_bytes)) " of " (vm.spec.disk) }),
        (
            "Disks, read / written",
            html! {
                (or_none(stats.traffic.map(|t| moved(t.disk_read_bytes, t.disk_written_bytes))))
            },
        ),
        (
            "Network, received / sent",
            html! {
                (or_none(stats.traffic.map(|t| moved(t.net_received_bytes, t.net_sent_bytes))))
            },
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_core::id::VmId;
    use serde_json::json;

    fn vm(name: &str, state: VmState) -> Vm {
        let spec = json!({
            "image": "0000000000000001", "image_name": "debian", "vcpus": 2, "memory": 1 << 30,
            "disk": 8_u64 << 30, "network": "user", "opencode": true, "vmm": "qemu",
            "root_disk": "qcow2", "root_disk_reason": "asked for",
        });
        let vm = json!({
            "id": VmId::from_bits(7), "name": name, "spec": spec, "state": state,
            "created_at": 0, "complete": true,
        });
        serde_json::from_value(vm).unwrap()
    }

    fn lines(html: &Markup) -> String {
        html.0.replace("><", ">\n<")
    }

    #[test]
    fn a_row_is_short_and_says_what_there_is() {
        let vms = [vm("dev", VmState::Running)];
        insta::assert_snapshot!(lines(&table(&vms, None)), @r#"
        <div class="wide" tabindex="0" role="region" aria-label="VMs">
        <table>
        <thead>
        <tr>
        <th scope="col">Name</th>
        <th scope="col">State</th>
        <th scope="col">Image</th>
        <th scope="col">vCPUs</th>
        <th scope="col">Memory</th>
        <th scope="col">Use</th>
        </tr>
        </thead>
        <tbody>
        <tr>
        <td>
        <a href="/vms/dev">dev</a>
        </td>
        <td sse-swap="s-00000000">
        <span class="badge green">running</span>
        </td>
        <td>debian</td>
        <td>2</td>
        <td>1 GiB</td>
        <td sse-swap="u-00000000">
        </td>
        </tr>
        </tbody>
        </table>
        </div>
        "#);
        insta::assert_snapshot!(lines(&table(&[], None)), @r#"<p>There is no VM yet. <a href="/new/vm">Create one</a>.</p>"#);
    }

    #[test]
    fn a_detail_from_a_guest_is_text() {
        let detail = "<script>alert(1)</script>\u{202e}\u{1b}[2J".to_owned();
        let state = VmState::Stopped(StopCause::Crashed { detail });
        let cause = cause(&state).unwrap();
        let shown = html! { (badge(&state)) " " (cause) }.into_string();
        insta::assert_snapshot!(shown, @r#"<span class="badge red">stopped</span> it crashed: &lt;script&gt;alert(1)&lt;/script&gt;"#);
    }
}
