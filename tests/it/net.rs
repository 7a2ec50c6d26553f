//! The helper's network, in a network namespace of its own: by root only, who may make one and
//! whom the helper trusts the programs of.

use std::fs;
use std::time::Duration;

use banger_exec::{Command, HostRunner, Runner as _, Tool, Tools};

use crate::harness::{As, Sandbox, programs};

/// Who asks what; then what there is.
const SET_UP: &str = r#"
set -eu
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
ip link set lo up
# A new namespace may have it from the host's.
echo 0 > /proc/sys/net/ipv4/ip_forward
state=$(mktemp -d /run/XXXXXX)
for uid in 4001 4002; do mkdir -m 700 "$state/$uid"; chown $uid "$state/$uid"; done
ask() {
    local uid=$1
    shift
    printf '%s\n' "{\"verb\":\"open\",\"state_dir\":\"$state/$uid\"}" "$@" |
        SUDO_UID=$uid SUDO_GID=$uid "$HELPER" | tail -n +2 | sed "s/^/$uid: /"
}
up='{"verb":"net_up","subnet":"172.28.9.0/24","dns":["10.0.0.1"],"host_ports":[]}'
down='{"verb":"net_down"}'
tap() { echo "{\"verb\":\"tap_$1\",\"address\":\"$2\"}"; }
links() { ip -brief link | awk '$1 ~ /^bgr/ { print $1 }' | sort | tr '\n' ' '; }
is() {
    echo "links: $(links)"
    echo "tables: $(nft list tables | tr '\n' ' ')"
    echo "forwards: $(cat /proc/sys/net/ipv4/ip_forward)"
}
"#;

/// What a script says in a network namespace of its own, with the functions of [`SET_UP`].
fn in_a_namespace(script: &str) -> String {
    assert!(rustix::process::geteuid().is_root(), "run me as root");
    let helper = programs(As::Me).join("banger-helper");
    let script = format!("HELPER={}\n{SET_UP}\n{script}", helper.display());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("script");
    fs::write(&file, script).unwrap();
    let command = Command::new(Tool::Unshare)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .timeout(Duration::from_secs(300))
        .args(["--net", "--mount", "--", "bash"])
        .arg(&file);
    let ran = HostRunner::new(Tools::discover()).capture(&command).unwrap();
    let said = String::from_utf8(ran.stdout).unwrap();
    format!("{said}{}", ran.stderr).trim_end().to_owned()
}

#[test]
fn a_network_is_made_brought_up_to_date_and_removed() {
    let said = in_a_namespace(
        r#"
ask 4001 "$(tap create 172.28.9.2)"
ask 4001 "$up" "$(tap create 172.28.9.2)" "$(tap create 172.28.9.3)"
is
ip -brief address show bgrbr4001 | awk '{ print $3, $4 }'
cat /sys/class/net/bgr-ac1c0902/owner /sys/class/net/bgr-ac1c0902/brport/isolated
cat /proc/sys/net/ipv6/conf/bgrbr4001/disable_ipv6
echo "again, with another port; somebody has emptied the packet filter"
nft flush ruleset
ask 4001 "${up/\[\]/[80]}" "$(tap create 172.28.9.2)"
nft list chain inet banger_4001 from_guests | grep dport
echo "with another subnet under its guests"
ask 4001 "${up/.9.0/.8.0}"
ask 4001 "$(tap remove 172.28.9.2)" "$(tap remove 172.28.9.3)" "$down" "$down" "$(tap remove 172.28.9.3)"
is
find /run/banger -printf '%m %p\n'
"#,
    );
    insta::assert_snapshot!(said, @r#"
    4001: {"refused":"172.28.9.2 is no guest's of the caller's network, which comes first"}
    4001: {"done":"nothing"}
    4001: {"done":"nothing"}
    4001: {"done":"nothing"}
    links: bgr-ac1c0902 bgr-ac1c0903 bgrbr4001 
    tables: table inet banger_4001 
    forwards: 1
    172.28.9.1/24 
    4001
    1
    1
    again, with another port; somebody has emptied the packet filter
    4001: {"done":"nothing"}
    4001: {"done":"nothing"}
    		ip daddr 10.0.0.1 meta l4proto { tcp, udp } th dport 53 accept
    		tcp dport 80 accept
    with another subnet under its guests
    4001: {"refused":"guests still use 172.28.9.0/24, so they cannot use 172.28.8.0/24"}
    4001: {"done":"nothing"}
    4001: {"done":"nothing"}
    4001: {"done":"nothing"}
    4001: {"done":"nothing"}
    4001: {"done":"nothing"}
    links: 
    tables: 
    forwards: 0
    700 /run/banger
    600 /run/banger/lock
    "#);
}

#[test]
fn users_leave_each_others_networks_alone() {
    let said = in_a_namespace(
        r#"
ask 4001 "$up" "$(tap create 172.28.9.2)"
ip route add 192.168.9.0/24 dev lo
echo "what is another's, or the host's"
ask 4002 "$up"
ask 4002 "${up/172.28.9.0\/24/192.168.0.0/16}" "${up/172.28.9.0/9.9.9.0}" "${up/\/24/\/8}"
ask 4002 "${up/.9.0/.7.0}" "$(tap create 172.28.9.2)" "$(tap remove 172.28.9.2)"
is
echo "the first goes, then the second"
ask 4001 "$(tap remove 172.28.9.2)" "$down"
is
ask 4002 "$down"
is
echo "something else forwards by now"
ask 4001 "$up"
ip link add name docker0 type bridge
ask 4001 "$down"
is
"#,
    );
    insta::assert_snapshot!(said, @r#"
    4001: {"done":"nothing"}
    4001: {"done":"nothing"}
    what is another's, or the host's
    4002: {"refused":"172.28.9.0/24 is part of another network here, 172.28.9.0/24"}
    4002: {"refused":"192.168.0.0/16 is part of another network here, 192.168.9.0/24"}
    4002: {"refused":"9.9.9.0/24 is not private: choose one in 10/8, 172.16/12 or 192.168/16"}
    4002: {"refused":"172.28.9.0/8 is not a subnet: write 172.0.0.0/8"}
    4002: {"done":"nothing"}
    4002: {"refused":"172.28.9.2 is no guest's of the caller's network, which comes first"}
    4002: {"refused":"bgr-ac1c0902 is not a tap of the caller's"}
    links: bgr-ac1c0902 bgrbr4001 bgrbr4002 
    tables: table inet banger_4001 table inet banger_4002 
    forwards: 1
    the first goes, then the second
    4001: {"done":"nothing"}
    4001: {"done":"nothing"}
    links: bgrbr4002 
    tables: table inet banger_4002 
    forwards: 1
    4002: {"done":"nothing"}
    links: 
    tables: 
    forwards: 0
    something else forwards by now
    4001: {"done":"nothing"}
    4001: {"done":"nothing"}
    links: 
    tables: 
    forwards: 1
    "#);
}

#[test]
fn docker_lets_through_what_is_ours() {
    let said = in_a_namespace(
        r#"
docker() { nft list chain ip filter DOCKER-USER | grep bgr | sed 's/packets 0 bytes 0 //; s/^\t*//'; }
nft 'table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }'
echo '{"verb":"open","state_dir":"'$state/4001'"}' | SUDO_UID=4001 SUDO_GID=4001 "$HELPER" | grep -o '"drops.*]'
nft 'table ip filter { chain DOCKER-USER { return; }; }'
ask 4001 "$up" "$up"
docker
ask 4001 "$down"
docker
"#,
    );
    insta::assert_snapshot!(said, @r#"
    "drops":["ip filter FORWARD"]
    4001: {"done":"nothing"}
    4001: {"done":"nothing"}
    oifname "bgrbr4001" counter accept comment "banger_4001"
    iifname "bgrbr4001" counter accept comment "banger_4001"
    4001: {"done":"nothing"}
    "#);
}

#[test]
fn a_vm_on_qemu_is_reached_by_its_address() {
    let banger = Sandbox::new(As::Me);
    let said = in_a_namespace(&format!(
        r#"
export XDG_STATE_HOME={0}/state XDG_CONFIG_HOME={0}/config XDG_CACHE_HOME={0}/cache XDG_RUNTIME_DIR={0}/run
banger() {{ "$(dirname "$HELPER")/banger" "$@" 2>>/run/said || {{ cat /run/said; exit 1; }}; }}
banger vm create dev --nat --no-opencode --memory 512M --wait ssh
banger vm show dev | sed -n 's/^network *//p'
address=$(banger vm show dev --json | sed -n 's/.*"address": *"\([^"]*\)".*/\1/p')
head -c 7 < /dev/tcp/$address/22
echo
banger vm exec dev -- "ip -br -4 address show eth0 | tr -s ' '; ip route | cut -d ' ' -f 1-5"
ip route | tr -s ' '
links
banger vm stop dev
is
banger vm delete --yes dev
banger daemon stop
"#,
        banger.dir().display()
    ));
    insta::assert_snapshot!(said, @"
    dev is running; enter it with: banger vm ssh dev
    nat
    SSH-2.0
    eth0 UP 172.28.0.2/24 
    default via 172.28.0.1 dev eth0
    172.28.0.0/24 dev eth0 proto kernel
    172.28.0.0/24 dev bgrbr0 proto kernel scope link src 172.28.0.1 
    bgr-ac1c0002 bgrbr0 dev is stopped
    links: 
    tables: 
    forwards: 0
    dev is deleted
    the daemon is stopped; VMs run on
    ");
}
