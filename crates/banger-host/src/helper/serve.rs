//! A session: verbs come in, replies go out, each a line.

use std::io::{self, BufRead, Write};
use std::path::Path;

use banger_core::helper::{Answer, LINE_MAX, PROTOCOL, Reply, Verb};
use banger_exec::{HostRunner, Tool, Tools};

use super::caller::Access;
use super::loops::LoopDevice;
use super::mapper::{self, Layers, Mapper};
use super::net::{self, Net};
use super::{Caller, HelperError, StateDir, trusted, vmm};

/// What one session holds.
pub struct Server {
    caller: Caller,
    tools: Tools,
    runner: HostRunner,
    state: Option<StateDir>,
}

impl Server {
    /// A session of `caller`'s.
    #[must_use]
    pub fn new(caller: Caller, tools: Tools) -> Self {
        // Without one each use fails; `open` says why.
        let trusted = [Tool::Dmsetup, Tool::Ip, Tool::Bridge, Tool::Nft].into_iter().fold(
            Tools::default(),
            |found, tool| match trusted(&tools, tool) {
                Ok(path) => found.with(tool, path),
                Err(_) => found,
            },
        );
        let runner = HostRunner::new(trusted);
        Self { caller, tools, runner, state: None }
    }

    /// Which of these programs is not there to be used.
    fn missing(&self, tools: &[Tool]) -> Option<String> {
        tools.iter().find_map(|tool| trusted(&self.tools, *tool).err())
    }

    /// Does what a line asks for. Returns how it was understood, too.
    fn answer(&mut self, line: &[u8]) -> (String, Reply) {
        let verb = match serde_json::from_slice::<Verb>(line) {
            Ok(verb) => verb,
            Err(error) => {
                let line: String = String::from_utf8_lossy(line).chars().take(200).collect();
                return (line, Reply::Refused(format!("not a verb: {error}")));
            }
        };
        let asked = format!("{verb:?}");
        let reply = match self.act(verb) {
            Ok(answer) => Reply::Done(answer),
            Err(HelperError::Refused(why)) => Reply::Refused(why),
            Err(error) => Reply::Failed(error.to_string()),
        };
        (asked, reply)
    }

    fn act(&mut self, verb: Verb) -> Result<Answer, HelperError> {
        let mapper = Mapper {
            runner: &self.runner,
            caller: self.caller,
            blocks: Path::new("/sys/block"),
            nodes: Path::new("/dev/mapper"),
        };
        let net = Net {
            runner: &self.runner,
            caller: self.caller,
            devices: Path::new("/sys/class/net"),
            root: Path::new("/"),
            proc: Path::new("/proc"),
            keep: Path::new("/run/banger"),
        };
        let state = match (&verb, &self.state) {
            (Verb::Open { state_dir }, None) => {
                self.state = Some(StateDir::open(state_dir, self.caller)?);
                let net = match self.missing(&[Tool::Ip, Tool::Bridge, Tool::Nft]) {
                    Some(missing) => Err(missing),
                    None => net::survey(&self.runner),
                };
                return Ok(Answer::Opened {
                    protocol: PROTOCOL,
                    no_mapper: self
                        .missing(&[Tool::Dmsetup])
                        .or_else(|| mapper::obstacle(&self.runner)),
                    no_vmm: vmm::obstacle(&self.tools),
                    no_net: net.as_ref().err().cloned(),
                    drops: net.unwrap_or_default(),
                });
            }
            (Verb::Open { .. }, Some(_)) => {
                return Err(HelperError::refused("the state folder is named already"));
            }
            (_, Some(state)) => state,
            (_, None) => return Err(HelperError::refused("the state folder comes first")),
        };
        match verb {
            Verb::DmCreate { vm, base, overlay } => {
                let attach = |path: &Path, access| {
                    let file = state.file(path, access)?;
                    LoopDevice::attach(&file, access == Access::Read, &path.to_string_lossy())
                };
                // They go when this ends, but for the device that holds them.
                let base = attach(&base, Access::Read)?;
                let overlay = attach(&overlay, Access::Write)?;
                let sectors = base.sectors()?;
                let layers = Layers { base: base.number, sectors, overlay: overlay.number };
                mapper.create(&vm, layers)?;
            }
            Verb::DmRemove { vm } => mapper.remove(&vm)?,
            Verb::NetUp { subnet, dns, host_ports } => net.up(subnet, &dns, &host_ports)?,
            Verb::NetDown => net.down()?,
            Verb::TapCreate { address } => net.add_tap(address)?,
            Verb::TapRemove { address } => net.remove_tap(address)?,
            Verb::VmmStart { args, log } => {
                let log = state.file(&log, Access::Append)?;
                let pid = vmm::start(&self.tools, self.caller, &args, log)?;
                return Ok(Answer::Process(pid));
            }
            Verb::Open { .. } => {}
        }
        Ok(Answer::Nothing)
    }
}

/// Answers until the input ends. `log` is told each line and its answer.
///
/// # Errors
/// The input or the output.
pub fn serve(
    server: &mut Server,
    mut input: impl BufRead,
    mut output: impl Write,
    log: impl Fn(&str, &Reply),
) -> io::Result<()> {
    loop {
        let mut line = Vec::new();
        let limit = LINE_MAX as u64 + 1;
        io::Read::take(&mut input, limit).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        let too_long = line.len() > LINE_MAX;
        let (asked, reply) = if too_long {
            (String::new(), Reply::Refused("the line is too long".to_owned()))
        } else {
            server.answer(&line)
        };
        log(&asked, &reply);
        serde_json::to_writer(&mut output, &reply)?;
        output.write_all(b"\n")?;
        output.flush()?;
        // What comes behind it is not the beginning of a line.
        if too_long {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn session(input: &[u8]) -> Vec<Reply> {
        let caller = Caller { uid: u32::MAX - 1, gid: 0 };
        let mut server = Server::new(caller, Tools::default());
        let mut output = Vec::new();
        serve(&mut server, input, &mut output, |_, _| ()).unwrap();
        let output = String::from_utf8(output).unwrap();
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn refused(reply: &Reply) -> &str {
        let Reply::Refused(why) = reply else { panic!("{reply:?}") };
        why
    }

    #[test]
    fn what_is_no_verb_is_refused_and_the_session_goes_on() {
        let replies = session(
            b"{\"verb\":\"dm_remove\",\"vm\":\"0000000000000001\"}\nhello\n\n{\"verb\":\"open\",\"state_dir\":\"x\"}\n",
        );
        let said: Vec<_> = replies.iter().map(refused).collect();
        insta::assert_snapshot!(said.join("\n"), @r"
        the state folder comes first
        not a verb: expected value at line 1 column 1
        not a verb: EOF while parsing a value at line 2 column 0
        the state folder cannot be used: it must be the caller's, and nobody else's to write to
        ");
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let replies = session(&vec![b'x'; 1 << 20]);
        assert_eq!(replies.iter().map(refused).collect::<Vec<_>>(), ["the line is too long"]);
        // Deep nesting is an error, not an overflow of the stack.
        refused(&session(&vec![b'['; LINE_MAX])[0]);
    }

    proptest! {
        /// Whatever comes in: as many answers as lines, none of them a deed.
        #[test]
        fn noise_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            for reply in session(&bytes) {
                refused(&reply);
            }
        }

        /// Nor does what looks like a verb do anything for who owns nothing.
        #[test]
        fn what_looks_like_a_verb_is_refused(
            verb in "(open|dm_create|dm_remove|vmm_start|run)",
            vm in "([0-9a-f]{16}|[./a-z]{0,9})",
            path in "(/|\\.\\./|[a-z]){0,9}",
        ) {
            let line = serde_json::json!({
                "verb": verb, "state_dir": "/", "vm": vm, "base": path, "overlay": path,
                "args": [path], "log": path,
            });
            let one_only = line.as_object().unwrap().iter().map(|(key, value)| {
                format!("{{\"verb\":\"{verb}\",\"{key}\":{value}}}\n")
            });
            let lines: String = one_only.chain([format!("{line}\n")]).collect();
            for reply in session(lines.as_bytes()) {
                refused(&reply);
            }
        }
    }
}
