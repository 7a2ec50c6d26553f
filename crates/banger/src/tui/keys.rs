//! The key map: one table, by which keys act, and from which the help, the palette, the hints and
//! the README's list are made.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::model::Tab;

/// What a person can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Leaves what has the whole screen, or ends the TUI.
    Quit,
    /// Ends the TUI.
    QuitNow,
    /// Stops the TUI, as a shell's job.
    Suspend,
    /// Shows the keys.
    Help,
    /// Shows all that can be done, by name.
    Palette,
    /// The next tab.
    NextTab,
    /// The tab before.
    PreviousTab,
    /// The tab of that number, from 0.
    Tab(usize),
    /// Leaves what is shown, then takes the filter and the marks away.
    Back,
    /// Starts the daemon.
    StartDaemon,
    /// A line up.
    Up,
    /// A line down.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// Half a page up.
    HalfUp,
    /// Half a page down.
    HalfDown,
    /// The first line.
    First,
    /// The last line.
    Last,
    /// Filters the list.
    Filter,
    /// Sorts by the next column.
    Sort,
    /// Sorts by the column before.
    SortBack,
    /// Sorts the other way round.
    Reverse,
    /// Marks a line, or no longer.
    Mark,
    /// Marks all that are shown, or none.
    MarkAll,
    /// Shows the details on the whole screen, or beside the list.
    Details,
    /// Copies what one needs of the line.
    Copy,
    /// Opens the web console.
    Web,
    /// Makes a VM.
    Create,
    /// Starts VMs.
    Start,
    /// Stops VMs.
    Stop,
    /// Stops and starts VMs.
    Restart,
    /// Ends VMs at once.
    Kill,
    /// Deletes VMs.
    Delete,
    /// Enters a VM.
    Ssh,
    /// Shows a VM's console.
    Logs,
    /// Renames a VM.
    Rename,
    /// Changes a VM's CPUs, memory and work disk.
    Resize,
    /// Shows a VM's ports, to open them.
    Ports,
    /// Makes an image of a VM's root.
    PromoteVm,
    /// Builds an image.
    Build,
    /// Makes an image of a container's.
    Pull,
    /// Copies a registered image's files into the store.
    PromoteImage,
    /// Deletes an image.
    DeleteImage,
    /// Cancels an operation.
    Cancel,
    /// Looks at the host anew.
    Examine,
    /// Releases what is left behind.
    CleanUp,
    /// Follows the log, or no longer.
    Follow,
    /// Searches the log.
    Search,
    /// The next place with what was searched for, further up.
    NextMatch,
    /// The next one further down.
    PreviousMatch,
}

/// Where a key is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere.
    All,
    /// In lists.
    List,
    /// Among VMs.
    Vms,
    /// Among images.
    Images,
    /// Among operations.
    Operations,
    /// Among what the doctor found.
    Doctor,
    /// In a VM's log.
    Log,
}

impl Scope {
    /// All, in the order of the help.
    pub const ALL: [Self; 7] =
        [Self::All, Self::List, Self::Vms, Self::Images, Self::Operations, Self::Doctor, Self::Log];

    /// Its heading.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::All => "Everywhere",
            Self::List => "In lists",
            Self::Vms => "VMs",
            Self::Images => "Images",
            Self::Operations => "Operations",
            Self::Doctor => "Doctor",
            Self::Log => "Log",
        }
    }
}

/// A key, as the terminal tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Press {
    code: KeyCode,
    control: bool,
}

const fn key(code: KeyCode) -> Press {
    Press { code, control: false }
}

const fn c(letter: char) -> Press {
    key(KeyCode::Char(letter))
}

const fn ctrl(letter: char) -> Press {
    Press { code: KeyCode::Char(letter), control: true }
}

impl Press {
    /// Whether this is what was pressed.
    fn is(self, event: &KeyEvent) -> bool {
        self.code == event.code
            && self.control == event.modifiers.contains(KeyModifiers::CONTROL)
            && !event.modifiers.contains(KeyModifiers::ALT)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> String {
        let name = match self.code {
            KeyCode::Char(' ') => "Space".to_owned(),
            KeyCode::Char(letter) => letter.to_string(),
            KeyCode::Left => "←".to_owned(),
            KeyCode::Right => "→".to_owned(),
            KeyCode::Up => "↑".to_owned(),
            KeyCode::Down => "↓".to_owned(),
            KeyCode::PageUp => "PgUp".to_owned(),
            KeyCode::PageDown => "PgDn".to_owned(),
            KeyCode::BackTab => "Shift-Tab".to_owned(),
            other => other.to_string(),
        };
        if self.control { format!("Ctrl-{}", name.to_uppercase()) } else { name }
    }
}

/// A line of the key map.
#[derive(Debug)]
pub struct Binding {
    /// What it does.
    pub action: Action,
    /// Where.
    pub scope: Scope,
    /// By which keys.
    pub keys: &'static [Press],
    /// In a word or two, as in the palette.
    pub title: &'static str,
    /// In a few more.
    pub help: &'static str,
}

impl Binding {
    /// The names of its keys.
    #[must_use]
    pub fn keys(&self) -> String {
        self.keys.iter().map(|press| press.name()).collect::<Vec<_>>().join(" ")
    }
}

const fn bind(
    scope: Scope,
    action: Action,
    keys: &'static [Press],
    title: &'static str,
    help: &'static str,
) -> Binding {
    Binding { action, scope, keys, title, help }
}

use Action as A;
use KeyCode as K;
use Scope as S;

/// The key map.
pub const BINDINGS: &[Binding] = &[
    bind(S::All, A::Help, &[c('?'), key(K::F(1))], "help", "these keys"),
    bind(S::All, A::Palette, &[c(':')], "palette", "all that can be done, by name"),
    bind(S::All, A::NextTab, &[key(K::Tab), key(K::Right)], "next tab", "the next tab"),
    bind(
        S::All,
        A::PreviousTab,
        &[key(K::BackTab), key(K::Left)],
        "previous tab",
        "the tab before",
    ),
    bind(S::All, A::Tab(0), &[c('1')], "VMs", "the VMs"),
    bind(S::All, A::Tab(1), &[c('2')], "images", "the images"),
    bind(S::All, A::Tab(2), &[c('3')], "operations", "the operations"),
    bind(S::All, A::Tab(3), &[c('4')], "doctor", "what works on this machine"),
    bind(S::All, A::Back, &[key(K::Esc)], "back", "leave this; then take filter and marks away"),
    bind(S::All, A::Web, &[c('w')], "web console", "open the web console in the browser"),
    bind(S::All, A::StartDaemon, &[c('R')], "start the daemon", "start the daemon, if it is away"),
    bind(S::All, A::Quit, &[c('q')], "quit", "leave a log or details, else banger; work goes on"),
    bind(S::All, A::QuitNow, &[ctrl('c')], "quit at once", "leave banger, wherever you are"),
    bind(S::All, A::Suspend, &[ctrl('z')], "suspend", "stop it; fg brings it back"),
    bind(S::List, A::Up, &[key(K::Up), c('k')], "up", "a line up"),
    bind(S::List, A::Down, &[key(K::Down), c('j')], "down", "a line down"),
    bind(S::List, A::PageUp, &[key(K::PageUp), ctrl('b')], "page up", "a page up"),
    bind(S::List, A::PageDown, &[key(K::PageDown), ctrl('f')], "page down", "a page down"),
    bind(S::List, A::HalfUp, &[ctrl('u')], "half a page up", "half a page up"),
    bind(S::List, A::HalfDown, &[ctrl('d')], "half a page down", "half a page down"),
    bind(S::List, A::First, &[key(K::Home), c('g')], "first", "the first line"),
    bind(S::List, A::Last, &[key(K::End), c('G')], "last", "the last line"),
    bind(S::List, A::Filter, &[c('/')], "filter", "show only lines with these words"),
    bind(S::List, A::Details, &[key(K::Enter)], "details", "details on the whole screen, and back"),
    bind(
        S::List,
        A::Copy,
        &[c('y')],
        "copy",
        "copy the command that enters it, its name or remedy",
    ),
    bind(S::Vms, A::Create, &[c('n')], "new VM", "make a VM"),
    bind(S::Vms, A::Start, &[c('s')], "start", "start it, or all that are marked"),
    bind(S::Vms, A::Stop, &[c('S')], "stop", "shut it down, or all that are marked"),
    bind(S::Vms, A::Restart, &[c('r')], "restart", "stop and start it, or all that are marked"),
    bind(S::Vms, A::Kill, &[c('K')], "kill", "cut its power, or that of all that are marked"),
    bind(
        S::Vms,
        A::Delete,
        &[c('D'), key(K::Delete)],
        "delete",
        "delete it, or all that are marked",
    ),
    bind(S::Vms, A::Ssh, &[c('e')], "ssh", "enter it by SSH, and come back"),
    bind(S::Vms, A::Logs, &[c('l')], "logs", "its serial console"),
    bind(S::Vms, A::Ports, &[c('o')], "ports", "its ports: open them, copy their addresses"),
    bind(S::Vms, A::Rename, &[c('m')], "rename", "give it another name"),
    bind(
        S::Vms,
        A::Resize,
        &[c('z')],
        "resize",
        "its sizes if it is stopped; its overlay if it runs",
    ),
    bind(S::Vms, A::PromoteVm, &[c('P')], "image of VM", "make an image of its root"),
    bind(S::Vms, A::Cancel, &[c('c')], "cancel", "cancel what is under way on it"),
    bind(S::Vms, A::Build, &[c('b')], "build image", "build an image to make VMs of"),
    bind(S::Vms, A::Mark, &[c(' ')], "mark", "mark it for the next act, or no longer"),
    bind(S::Vms, A::MarkAll, &[c('a')], "mark all", "mark all that are shown, or none"),
    bind(S::Vms, A::Sort, &[c('>'), c('f')], "sort", "sort by the next column"),
    bind(S::Vms, A::SortBack, &[c('<')], "sort back", "sort by the column before"),
    bind(S::Vms, A::Reverse, &[c('F')], "reverse", "sort the other way round"),
    bind(S::Images, A::Create, &[c('n')], "new VM", "make a VM of it"),
    bind(
        S::Images,
        A::Build,
        &[c('b')],
        "build image",
        "build an image of a distribution's packages",
    ),
    bind(
        S::Images,
        A::Pull,
        &[c('p')],
        "pull image",
        "make an image of a container's, from a registry",
    ),
    bind(
        S::Images,
        A::PromoteImage,
        &[c('P')],
        "promote",
        "copy a registered image into banger's store",
    ),
    bind(S::Images, A::DeleteImage, &[c('D'), key(K::Delete)], "delete image", "delete it"),
    bind(S::Operations, A::Cancel, &[c('c')], "cancel", "cancel it: what it has done is undone"),
    bind(S::Doctor, A::Examine, &[c('r')], "look again", "look at this machine anew"),
    bind(S::Doctor, A::CleanUp, &[c('x')], "clean up", "release what is left behind"),
    bind(S::Log, A::Follow, &[c('f')], "follow", "go on with what comes, or stand still"),
    bind(S::Log, A::Search, &[c('/')], "search", "find a text, from the end up"),
    bind(S::Log, A::NextMatch, &[c('n')], "next match", "the next place with it, further up"),
    bind(S::Log, A::PreviousMatch, &[c('N')], "previous match", "the next place, further down"),
];

impl Scope {
    /// The tab whose acts these are.
    #[must_use]
    pub fn tab(self) -> Option<Tab> {
        match self {
            Self::Vms => Some(Tab::Vms),
            Self::Images => Some(Tab::Images),
            Self::Operations => Some(Tab::Operations),
            Self::Doctor => Some(Tab::Doctor),
            Self::All | Self::List | Self::Log => None,
        }
    }
}

impl Binding {
    /// Whether it is looked for by name: who moves does so by keys.
    #[must_use]
    pub fn has_name(&self) -> bool {
        let moves = [
            A::Up,
            A::Down,
            A::PageUp,
            A::PageDown,
            A::HalfUp,
            A::HalfDown,
            A::First,
            A::Last,
            A::NextTab,
            A::PreviousTab,
            A::Palette,
            A::QuitNow,
        ];
        !moves.contains(&self.action)
    }
}

/// What a key does where these scopes hold; the first scope that knows it decides.
#[must_use]
pub fn action(scopes: &[Scope], event: &KeyEvent) -> Option<Action> {
    scopes.iter().find_map(|scope| {
        let mut known = BINDINGS.iter().filter(|binding| binding.scope == *scope);
        known.find(|binding| binding.keys.iter().any(|press| press.is(event))).map(|b| b.action)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key map for the README.
    fn table() -> String {
        let mut text = String::from("| where | keys | |\n| --- | --- | --- |\n");
        for scope in Scope::ALL {
            for (i, binding) in BINDINGS.iter().filter(|binding| binding.scope == scope).enumerate()
            {
                let place = if i == 0 { scope.title() } else { "" };
                let keys: Vec<_> =
                    binding.keys.iter().map(|press| format!("`{}`", press.name())).collect();
                text.push_str(&format!("| {place} | {} | {} |\n", keys.join(" "), binding.help));
            }
        }
        text
    }

    #[test]
    fn no_key_means_two_things_in_one_place() {
        for scopes in [
            &[Scope::Vms, Scope::List, Scope::All][..],
            &[Scope::Images, Scope::List, Scope::All],
            &[Scope::Operations, Scope::List, Scope::All],
            &[Scope::Doctor, Scope::List, Scope::All],
            &[Scope::Log, Scope::All],
        ] {
            let known = BINDINGS.iter().filter(|binding| scopes.contains(&binding.scope));
            let mut keys: Vec<_> =
                known.flat_map(|binding| binding.keys.iter().map(|k| k.name())).collect();
            let all = keys.len();
            keys.sort();
            keys.dedup();
            assert_eq!(keys.len(), all, "{scopes:?}: {keys:?}");
        }
    }

    #[test]
    fn the_help_has_room_for_all_of_it() {
        for binding in BINDINGS {
            assert!(binding.keys().chars().count() <= 14, "{}", binding.keys());
            assert!(binding.help.len() <= 56, "{}", binding.help);
            assert!(binding.title.len() <= 17, "{}", binding.title);
        }
    }

    #[test]
    fn the_readme_has_the_key_map() {
        let readme = include_str!("../../../../README.md");
        assert!(readme.contains(&table()), "put this into README.md:\n{}", table());
    }
}
