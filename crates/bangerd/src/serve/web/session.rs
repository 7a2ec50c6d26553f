//! Who may use the console: login tokens, sessions, and tickets for guest ports.
//!
//! Whatever a browser shows us is a random secret of which only the digest is kept, so that neither
//! a look into our memory nor the time of a look-up tells it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use banger_core::id::VmId;
use ring::{digest, hmac};

/// For how long the URL of a login is good.
pub const LOGIN_LIMIT: Duration = Duration::from_secs(120);
/// For how long a ticket is: the browser follows it at once.
const TICKET_LIMIT: Duration = Duration::from_secs(30);
/// For how long a session that nobody uses lasts.
const IDLE_LIMIT: Duration = Duration::from_secs(12 * 3600);
/// The most of each kind that there are; the one that would end first makes room.
const MOST: usize = 256;

/// The cookie of the console.
pub const COOKIE: &str = "banger_session";
/// The cookie of one guest port.
pub const PORT_COOKIE: &str = "banger_port";

type Digest = [u8; 32];

/// Random secrets, each good for something until it ends.
struct Secrets<T>(Mutex<HashMap<Digest, (Instant, T)>>);

impl<T: Clone> Secrets<T> {
    fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    /// A new one, good for `value`.
    fn issue(&self, value: T, limit: Duration) -> String {
        let secret = format!("{:032x}", rand::random::<u128>());
        let now = Instant::now();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (ends, _)| *ends > now);
        if all.len() >= MOST {
            let first = all.iter().min_by_key(|(_, (ends, _))| *ends).map(|(digest, _)| *digest);
            first.map(|digest| all.remove(&digest));
        }
        all.insert(digest_of(&secret), (now + limit, value));
        secret
    }

    /// What one is good for. It is good no more.
    fn take(&self, secret: &str) -> Option<T> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (ends, value) = all.remove(&digest_of(secret))?;
        (ends > Instant::now()).then_some(value)
    }

    /// What one is good for, for `limit` from now on.
    fn renew(&self, secret: &str, limit: Duration) -> Option<T> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (ends, value) = all.get_mut(&digest_of(secret))?;
        let now = Instant::now();
        (*ends > now).then(|| {
            *ends = now + limit;
            value.clone()
        })
    }

    fn retain(&self, keep: impl Fn(&T) -> bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (_, value)| keep(value));
    }

    fn any(&self, is: impl Fn(&T) -> bool) -> bool {
        let (all, now) = (self.0.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        all.values().any(|(ends, value)| *ends > now && is(value))
    }
}

fn digest_of(secret: &str) -> Digest {
    let mut bytes = Digest::default();
    bytes.copy_from_slice(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref());
    bytes
}

/// A browser that has logged in.
#[derive(Debug, Clone)]
pub struct Session {
    id: u128,
    key: hmac::Key,
}

impl Session {
    fn new() -> Self {
        let key: [u8; 32] = rand::random();
        Self { id: rand::random(), key: hmac::Key::new(hmac::HMAC_SHA256, &key) }
    }

    /// The token that a form which is sent to `path` carries.
    #[must_use]
    pub fn token(&self, path: &str) -> String {
        let tag = hmac::sign(&self.key, path.as_bytes());
        tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether a form that was sent to `path` carried its token.
    #[must_use]
    pub fn issued(&self, path: &str, token: &str) -> bool {
        // Their digests are compared, so that the time tells nothing of the token.
        digest_of(&self.token(path)) == digest_of(token)
    }
}

/// What a browser may see of a guest's port, and by which session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The VM. Another of the same name later is not this one.
    pub vm: VmId,
    /// The port.
    pub port: u16,
    /// Whose it is.
    session: u128,
}

/// All that browsers have been given.
pub struct Sessions {
    logins: Secrets<()>,
    sessions: Secrets<Session>,
    tickets: Secrets<Grant>,
    grants: Secrets<Grant>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            logins: Secrets::new(),
            sessions: Secrets::new(),
            tickets: Secrets::new(),
            grants: Secrets::new(),
        }
    }
}

impl Sessions {
    /// A token that one browser can exchange for a session.
    #[must_use]
    pub fn invite(&self) -> String {
        self.logins.issue((), LOGIN_LIMIT)
    }

    /// The value of the cookie of a new session, for a token.
    #[must_use]
    pub fn log_in(&self, token: &str) -> Option<String> {
        self.logins.take(token)?;
        Some(self.sessions.issue(Session::new(), IDLE_LIMIT))
    }

    /// The session whose cookie is among these headers.
    #[must_use]
    pub fn of(&self, headers: &HeaderMap) -> Option<Session> {
        cookies(headers, COOKIE).find_map(|value| self.sessions.renew(value, IDLE_LIMIT))
    }

    /// Whether a session goes on.
    #[must_use]
    pub fn lasts(&self, session: &Session) -> bool {
        self.sessions.any(|other| other.id == session.id)
    }

    /// Ends a session, and with it what it was granted.
    pub fn log_out(&self, session: &Session) {
        self.sessions.retain(|other| other.id != session.id);
        self.tickets.retain(|grant| grant.session != session.id);
        self.grants.retain(|grant| grant.session != session.id);
    }

    /// A ticket to a guest's port.
    #[must_use]
    pub fn ticket(&self, session: &Session, vm: VmId, port: u16) -> String {
        self.tickets.issue(Grant { vm, port, session: session.id }, TICKET_LIMIT)
    }

    /// The value of the cookie that a ticket is exchanged for, at the port that it is for.
    #[must_use]
    pub fn enter(&self, ticket: &str, vm: &VmId, port: u16) -> Option<String> {
        let grant = self.tickets.take(ticket)?;
        (grant.vm == *vm && grant.port == port).then(|| self.grants.issue(grant, IDLE_LIMIT))
    }

    /// Whether these headers have the cookie of that port, and its session goes on.
    #[must_use]
    pub fn may_enter(&self, headers: &HeaderMap, vm: &VmId, port: u16) -> bool {
        let mut found = cookies(headers, PORT_COOKIE);
        found.any(|value| {
            let grant = self.grants.renew(value, IDLE_LIMIT);
            let here = grant.filter(|grant| grant.vm == *vm && grant.port == port);
            here.is_some_and(|grant| self.sessions.any(|session| session.id == grant.session))
        })
    }
}

/// The values of the cookies of that name. A page of another host can add some of its own.
fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';'));
    pairs.filter_map(move |pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// The line that gives a browser a cookie of this host alone, until it ends.
#[must_use]
pub fn set_cookie(name: &str, value: &str) -> String {
    format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict")
}

/// The line that takes it away.
#[must_use]
pub fn remove_cookie(name: &str) -> String {
    format!("{}; Max-Age=0", set_cookie(name, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str) -> HeaderMap {
        let line = format!("other=1; {name}=stray; {name}={value}");
        [(header::COOKIE, line.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn a_login_is_good_once() {
        let all = Sessions::default();
        assert!(all.log_in("nothing").is_none());
        let token = all.invite();
        let cookie = all.log_in(&token).unwrap();
        assert!(all.log_in(&token).is_none());
        let session = all.of(&with(COOKIE, &cookie)).unwrap();
        assert!(all.of(&with(COOKIE, &token)).is_none());
        assert!(all.of(&with(PORT_COOKIE, &cookie)).is_none());
        all.log_out(&session);
        assert!(all.of(&with(COOKIE, &cookie)).is_none());
    }

    #[test]
    fn a_secret_that_is_over_is_good_no_more() {
        let secrets = Secrets::new();
        let secret = secrets.issue(1, Duration::ZERO);
        assert_eq!(secrets.renew(&secret, IDLE_LIMIT), None);
        assert_eq!(secrets.take(&secret), None);
    }

    #[test]
    fn there_is_an_end_to_how_many_there_are() {
        let secrets = Secrets::new();
        let first = secrets.issue((), LOGIN_LIMIT);
        let others: Vec<_> = (0..MOST).map(|_| secrets.issue((), LOGIN_LIMIT)).collect();
        assert!(secrets.take(&first).is_none());
        assert!(others.iter().all(|secret| secrets.take(secret).is_some()));
    }

    #[test]
    fn a_form_has_a_token_of_its_own_in_each_session() {
        let (one, other) = (Session::new(), Session::new());
        let token = one.token("/vms/dev/stop");
        assert!(one.issued("/vms/dev/stop", &token));
        assert!(!one.issued("/vms/dev/kill", &token));
        assert!(!other.issued("/vms/dev/stop", &token));
        assert!(!one.issued("/vms/dev/stop", ""));
    }

    #[test]
    fn a_ticket_is_for_one_port_once_and_as_long_as_its_session() {
        let all = Sessions::default();
        let cookie = all.log_in(&all.invite()).unwrap();
        let session = all.of(&with(COOKIE, &cookie)).unwrap();
        let [vm, other] = [1, 2].map(VmId::from_bits);
        for (at, port) in [(&vm, 81), (&other, 80)] {
            let ticket = all.ticket(&session, vm.clone(), 80);
            assert!(all.enter(&ticket, at, port).is_none());
            assert!(all.enter(&ticket, &vm, 80).is_none(), "it was used up");
        }
        let entered = all.enter(&all.ticket(&session, vm.clone(), 80), &vm, 80).unwrap();
        let headers = with(PORT_COOKIE, &entered);
        assert!(all.may_enter(&headers, &vm, 80));
        assert!(!all.may_enter(&headers, &vm, 81));
        assert!(!all.may_enter(&headers, &other, 80));
        assert!(!all.may_enter(&with(PORT_COOKIE, &cookie), &vm, 80));
        all.log_out(&session);
        assert!(!all.may_enter(&headers, &vm, 80));
    }
}
