//! A file system after ISO/IEC 7816-4: MF, DFs, transparent and record EFs, a PIN.

mod commands;

use super::sw;

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum File {
    /// A dedicated file with its children; the MF is one too.
    Df {
        /// File identifier.
        id: u16,
        /// DF name, empty if it has none.
        name: Vec<u8>,
        /// Files in it.
        children: Vec<File>,
    },
    /// A transparent elementary file.
    Transparent {
        /// File identifier; its low five bits are the short one.
        id: u16,
        /// Contents.
        data: Vec<u8>,
        /// Reading and writing need the PIN.
        protected: bool,
    },
    /// An elementary file of records.
    Records {
        /// File identifier; its low five bits are the short one.
        id: u16,
        /// Records, numbered from 1.
        records: Vec<Vec<u8>>,
        /// Reading needs the PIN.
        protected: bool,
    },
}

impl File {
    /// File identifier.
    pub fn id(&self) -> u16 {
        match self {
            File::Df { id, .. } | File::Transparent { id, .. } | File::Records { id, .. } => *id,
        }
    }

    fn is_df(&self) -> bool {
        matches!(self, File::Df { .. })
    }

    /// The control parameters in a template with this tag: kind, identifier, size, DF name (clause 7.4.3).
    fn control_information(&self, tag: u8) -> Vec<u8> {
        let [high, low] = self.id().to_be_bytes();
        let size = |size: usize| [[0x80, 2], (size as u16).to_be_bytes()].concat();
        let mut body = match self {
            File::Df { .. } => vec![0x82, 1, 0x38],
            File::Transparent { .. } => vec![0x82, 1, 0x01],
            File::Records { records, .. } => {
                let longest = records.iter().map(Vec::len).max().unwrap_or(0) as u16;
                let [high, low] = longest.to_be_bytes();
                // Linear structure with records of variable size; data units of one byte.
                vec![0x82, 5, 0x04, 0x01, high, low, records.len() as u8]
            }
        };
        body.extend([0x83, 2, high, low]);
        match self {
            File::Df { name, .. } if name.is_empty() => {}
            File::Df { name, .. } => {
                body.extend([0x84, name.len() as u8]);
                body.extend_from_slice(name);
            }
            File::Transparent { data, .. } => body.extend(size(data.len())),
            File::Records { records, .. } => body.extend(size(records.iter().map(Vec::len).sum())),
        }
        [vec![tag, body.len() as u8], body].concat()
    }

    fn children(&self) -> &[File] {
        match self {
            File::Df { children, .. } => children,
            _ => &[],
        }
    }
}

/// Where a file is: the index in each DF on the way down from the MF.
type Path = Vec<usize>;

/// The application: SELECT, READ BINARY, UPDATE BINARY, READ RECORD, VERIFY, CHANGE REFERENCE DATA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    root: File,
    pin: Vec<u8>,
    tries_left: u8,
    verified: bool,
    df: Path,
    ef: Option<Path>,
}

impl FileSystem {
    /// Tries of the PIN before it is blocked.
    pub const PIN_TRIES: u8 = 3;

    /// A card with this MF and PIN.
    pub fn new(root: File, pin: &[u8]) -> Self {
        FileSystem {
            root,
            pin: pin.to_vec(),
            tries_left: Self::PIN_TRIES,
            verified: false,
            df: Path::new(),
            ef: None,
        }
    }

    /// A small card: EF 2F02 of 10 bytes, DF 5015 named "PKCS-15" with a 1,000-byte EF 4401, records
    /// in 4402 and a protected EF 4403; the PIN is "1234".
    pub fn example() -> Self {
        let transparent = |id, data, protected| File::Transparent { id, data, protected };
        let large = (0..1000usize).map(|i| (i % 251) as u8).collect();
        let records = File::Records {
            id: 0x4402,
            records: (1..=4u8).map(|n| vec![n; usize::from(n) * 5]).collect(),
            protected: false,
        };
        let df = File::Df {
            id: 0x5015,
            name: b"PKCS-15".to_vec(),
            children: vec![
                transparent(0x4401, large, false),
                records,
                transparent(0x4403, b"secret".to_vec(), true),
            ],
        };
        let root = File::Df {
            id: 0x3F00,
            name: Vec::new(),
            children: vec![transparent(0x2F02, (0..10).collect(), false), df],
        };
        FileSystem::new(root, b"1234")
    }

    fn at(&self, path: &[usize]) -> Option<&File> {
        path.iter()
            .try_fold(&self.root, |file, &i| file.children().get(i))
    }

    fn at_mut(&mut self, path: &[usize]) -> Option<&mut File> {
        path.iter().try_fold(&mut self.root, |file, &i| match file {
            File::Df { children, .. } => children.get_mut(i),
            _ => None,
        })
    }

    fn child(&self, df: &[usize], id: u16) -> Option<Path> {
        let i = self.at(df)?.children().iter().position(|f| f.id() == id)?;
        Some(df.iter().copied().chain([i]).collect())
    }

    fn find(&self, id: u16) -> Option<Path> {
        let parent = &self.df[..self.df.len().saturating_sub(1)];
        let is_current = |path: &[usize]| self.at(path).is_some_and(|f| f.id() == id);
        if id == self.root.id() {
            Some(Path::new())
        } else if let Some(path) = self.child(&self.df, id) {
            Some(path)
        } else if is_current(&self.df) {
            Some(self.df.clone())
        } else if is_current(parent) {
            Some(parent.to_vec())
        } else {
            self.child(parent, id)
        }
    }

    /// Follows a path of identifiers.
    fn walk(&self, from: &[usize], ids: &[u8]) -> Option<Path> {
        ids.chunks_exact(2).try_fold(from.to_vec(), |path, id| {
            self.child(&path, u16::from_be_bytes([id[0], id[1]]))
        })
    }

    /// The DF with this name, anywhere in the tree.
    fn named(&self, name: &[u8]) -> Option<Path> {
        fn below(file: &File, wanted: &[u8], path: &mut Path) -> bool {
            if matches!(file, File::Df { name, .. } if name == wanted) {
                return true;
            }
            file.children().iter().enumerate().any(|(i, child)| {
                path.push(i);
                let found = below(child, wanted, path);
                if !found {
                    path.pop();
                }
                found
            })
        }
        let mut path = Path::new();
        below(&self.root, name, &mut path).then_some(path)
    }

    /// The current EF, or the one with this short identifier, which becomes the current one.
    fn ef(&mut self, short_id: u8) -> Result<Path, u16> {
        if short_id != 0 {
            let files = self.at(&self.df).map(File::children).unwrap_or_default();
            let matches = |f: &File| !f.is_df() && (f.id() & 0x1F) as u8 == short_id;
            let i = files.iter().position(matches).ok_or(sw::NOT_FOUND)?;
            self.ef = Some(self.df.iter().copied().chain([i]).collect());
        }
        self.ef.clone().ok_or(sw::NO_CURRENT_EF)
    }
}
