//! Who may use which readers.

use pcsc_process::peer::Peer;

/// Who may use which readers. By default the user of this process and root, and all readers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AccessPolicy {
    /// Further users that are served, by their numbers.
    pub users: Vec<u32>,
    /// Groups whose members are served, by their numbers.
    pub groups: Vec<u32>,
    /// Users that see readers and cards come and go, and are refused connections to them, by their numbers.
    pub watching_users: Vec<u32>,
    /// Groups whose members do, likewise.
    pub watching_groups: Vec<u32>,
    /// The readers that are offered, as patterns of their names: `*` stands for any text, `?` for one
    /// character. All where it is empty.
    pub readers: Vec<String>,
    /// The readers among these that are not, likewise.
    pub hidden: Vec<String>,
    /// Whether `SCardControl` is passed on to readers: PIN pads, and commands of the vendor's (escape
    /// commands).
    pub controls: bool,
}

/// What a client may do. The steps are those of pcscd's two Polkit actions, `access_pcsc` and `access_card`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Everything.
    Full,
    /// Everything but connections to cards and readers.
    Watch,
    /// Nothing.
    Nothing,
}

impl Default for AccessPolicy {
    fn default() -> AccessPolicy {
        AccessPolicy {
            users: Vec::new(),
            groups: Vec::new(),
            watching_users: Vec::new(),
            watching_groups: Vec::new(),
            readers: Vec::new(),
            hidden: Vec::new(),
            controls: true,
        }
    }
}

impl AccessPolicy {
    /// What a client may do.
    pub(crate) fn rights(&self, peer: &Peer) -> Rights {
        let is_among = |users: &[u32], groups: &[u32]| {
            users.contains(&peer.user) || peer.groups.iter().any(|group| groups.contains(group))
        };
        if AccessPolicy::is_own(peer) || is_among(&self.users, &self.groups) {
            Rights::Full
        } else if is_among(&self.watching_users, &self.watching_groups) {
            Rights::Watch
        } else {
            Rights::Nothing
        }
    }

    /// Whether a client is of the user of this process or root.
    pub(crate) fn is_own(peer: &Peer) -> bool {
        let own = rustix::process::geteuid().as_raw();
        [0, own].contains(&peer.user)
    }

    /// Whether a reader is offered.
    pub(crate) fn offers(&self, reader: &[u8]) -> bool {
        let matches =
            |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern.as_bytes(), reader));
        (self.readers.is_empty() || matches(&self.readers)) && !matches(&self.hidden)
    }
}

/// Whether a text matches a pattern with `*` and `?`. The time is at most the product of their lengths.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut done) = (0, 0);
    // The last star, and how much of the text it stands for.
    let mut star: Option<(usize, usize)> = None;
    while done < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, done));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[done] => {
                at += 1;
                done += 1;
            }
            _ => {
                let Some((place, end)) = star else { return false };
                star = Some((place, end + 1));
                (at, done) = (place + 1, end + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "any", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*Yubi*", "Yubico YubiKey 00 00", true),
            ("Yubi*", "a Yubi", false),
            ("*00 0?", "x 00 00 01", true),
            ("*a*b*c", "aabbc c", true),
            ("*a*b*c", "aabbcd", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn by_default_the_own_user_and_root_are_served_alone() {
        let peer = |user, groups: &[u32]| Peer {
            user,
            groups: groups.to_vec(),
            process: None,
        };
        let own = rustix::process::geteuid().as_raw();
        let stranger = peer(own + 1000, &[50, 60]);
        let policy = AccessPolicy::default();
        assert_eq!(policy.rights(&peer(own, &[])), Rights::Full);
        assert_eq!(policy.rights(&peer(0, &[])), Rights::Full);
        assert_eq!(policy.rights(&stranger), Rights::Nothing);
        let users = AccessPolicy {
            users: vec![own + 1000],
            ..AccessPolicy::default()
        };
        let groups = AccessPolicy {
            groups: vec![60],
            ..AccessPolicy::default()
        };
        assert_eq!(users.rights(&stranger), Rights::Full);
        assert_eq!(groups.rights(&stranger), Rights::Full);
        assert_eq!(groups.rights(&peer(own + 1000, &[50])), Rights::Nothing);
        let watching = AccessPolicy {
            watching_users: vec![own + 1000, own],
            watching_groups: vec![50],
            ..groups
        };
        assert_eq!(watching.rights(&stranger), Rights::Full);
        assert_eq!(watching.rights(&peer(own, &[])), Rights::Full);
        assert_eq!(watching.rights(&peer(own + 1000, &[])), Rights::Watch);
        assert_eq!(watching.rights(&peer(own + 2000, &[50])), Rights::Watch);
        assert_eq!(watching.rights(&peer(own + 2000, &[])), Rights::Nothing);
    }

    #[test]
    fn a_reader_is_offered_unless_it_is_hidden() {
        let policy = AccessPolicy {
            readers: vec!["A*".into(), "B*".into()],
            hidden: vec!["*1".into()],
            ..AccessPolicy::default()
        };
        assert!(policy.offers(b"A 0") && policy.offers(b"B 0"));
        assert!(!policy.offers(b"A 1") && !policy.offers(b"C 0"));
        assert!(AccessPolicy::default().offers(b"any"));
    }
}
