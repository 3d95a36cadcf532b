//! A file system after ISO/IEC 7816-4: MF, DFs, transparent and record EFs, a PIN.

use super::{status, App};
use pcsc_ccid::apdu::Command;

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

    fn children(&self) -> &[File] {
        match self {
            File::Df { children, .. } => children,
            _ => &[],
        }
    }
}

/// Where a file is: the index in each DF on the way down from the MF.
type Path = Vec<usize>;

/// The application: SELECT by identifier, name or path, READ and UPDATE BINARY, READ RECORD, VERIFY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    root: File,
    pin: Vec<u8>,
    tries_left: u8,
    verified: bool,
    df: Path,
    ef: Option<Path>,
}

type Answer = Result<Vec<u8>, u16>;

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
        let serial = File::Transparent {
            id: 0x2F02,
            data: (0..10).collect(),
            protected: false,
        };
        let large = (0..1000usize).map(|i| (i % 251) as u8).collect();
        let records = (1..=4u8).map(|n| vec![n; usize::from(n) * 5]).collect();
        let df = File::Df {
            id: 0x5015,
            name: b"PKCS-15".to_vec(),
            children: vec![
                File::Transparent {
                    id: 0x4401,
                    data: large,
                    protected: false,
                },
                File::Records {
                    id: 0x4402,
                    records,
                    protected: false,
                },
                File::Transparent {
                    id: 0x4403,
                    data: b"secret".to_vec(),
                    protected: true,
                },
            ],
        };
        let root = File::Df {
            id: 0x3F00,
            name: Vec::new(),
            children: vec![serial, df],
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

    fn walk(&self, from: Path, ids: &[u8]) -> Result<Path, u16> {
        let mut path = from;
        for id in ids.chunks(2) {
            let id = u16::from_be_bytes(id.try_into().map_err(|_| 0x6A87u16)?);
            path = self.child(&path, id).ok_or(0x6A82u16)?;
        }
        Ok(path)
    }

    /// SELECT (ISO 7816-4 clause 11.2.2); answers with FCI unless P2 says none.
    fn select(&mut self, command: &Command<'_>) -> Answer {
        let [_, _, p1, p2] = command.header;
        let data = command.data;
        let path = match p1 {
            0x00 if data.is_empty() => Path::new(),
            0x00..=0x02 => {
                let id = u16::from_be_bytes(data.try_into().map_err(|_| 0x6A87u16)?);
                self.find(id).ok_or(0x6A82u16)?
            }
            0x03 => self.df[..self.df.len().saturating_sub(1)].to_vec(),
            0x04 => self.named(data).ok_or(0x6A82u16)?,
            0x08 => self.walk(Path::new(), data.strip_prefix(&[0x3F, 0x00]).unwrap_or(data))?,
            0x09 => self.walk(self.df.clone(), data)?,
            _ => return Err(0x6A86),
        };
        let file = self.at(&path).ok_or(0x6A82u16)?;
        let fci = fci(file);
        if matches!(file, File::Df { .. }) {
            self.df = path;
            self.ef = None;
        } else {
            self.df = path[..path.len() - 1].to_vec();
            self.ef = Some(path);
        }
        Ok(if p2 & 0x0C == 0x0C { Vec::new() } else { fci })
    }

    fn named(&self, wanted: &[u8]) -> Option<Path> {
        let position = self.root.children().iter().position(|f| match f {
            File::Df { name, .. } => !name.is_empty() && name == wanted,
            _ => false,
        })?;
        Some(Path::from([position]))
    }

    /// The EF that a short identifier names, or the current one.
    fn ef(&mut self, short_id: Option<u8>) -> Result<Path, u16> {
        if let Some(short_id) = short_id.filter(|id| *id != 0) {
            let files = self.at(&self.df).map(File::children).unwrap_or_default();
            let matches = |f: &File| !matches!(f, File::Df { .. }) && (f.id() & 0x1F) as u8 == short_id;
            let i = files.iter().position(matches).ok_or(0x6A82u16)?;
            self.ef = Some(self.df.iter().copied().chain([i]).collect());
        }
        self.ef.clone().ok_or(0x6986)
    }

    fn offset(&mut self, p1: u8, p2: u8) -> Result<(Path, usize), u16> {
        if p1 & 0x80 != 0 {
            Ok((self.ef(Some(p1 & 0x1F))?, usize::from(p2)))
        } else {
            Ok((self.ef(None)?, usize::from(u16::from_be_bytes([p1, p2]))))
        }
    }

    fn read_binary(&mut self, command: &Command<'_>) -> Answer {
        let (path, offset) = self.offset(command.header[2], command.header[3])?;
        let verified = self.verified;
        match self.at(&path) {
            Some(File::Transparent { protected: true, .. }) if !verified => Err(0x6982),
            Some(File::Transparent { data, .. }) => {
                let rest = data.get(offset..).ok_or(0x6B00u16)?;
                Ok(rest[..rest.len().min(command.ne.unwrap_or(0))].to_vec())
            }
            _ => Err(0x6981),
        }
    }

    fn update_binary(&mut self, command: &Command<'_>) -> Answer {
        let (path, offset) = self.offset(command.header[2], command.header[3])?;
        let verified = self.verified;
        match self.at_mut(&path) {
            Some(File::Transparent { protected: true, .. }) if !verified => Err(0x6982),
            Some(File::Transparent { data, .. }) => {
                let end = offset + command.data.len();
                data.get_mut(offset..end)
                    .ok_or(0x6A84u16)?
                    .copy_from_slice(command.data);
                Ok(Vec::new())
            }
            _ => Err(0x6981),
        }
    }

    fn read_record(&mut self, command: &Command<'_>) -> Answer {
        let [_, _, number, p2] = command.header;
        if p2 & 0x07 != 0x04 {
            return Err(0x6A86);
        }
        let path = self.ef(Some(p2 >> 3))?;
        let verified = self.verified;
        match self.at(&path) {
            Some(File::Records { protected: true, .. }) if !verified => Err(0x6982),
            Some(File::Records { records, .. }) => {
                let record = usize::from(number)
                    .checked_sub(1)
                    .and_then(|i| records.get(i))
                    .ok_or(0x6A83u16)?;
                Ok(record[..record.len().min(command.ne.unwrap_or(0))].to_vec())
            }
            _ => Err(0x6981),
        }
    }

    /// VERIFY (clause 11.5.6); without data it tells the tries left.
    fn verify(&mut self, command: &Command<'_>) -> Answer {
        if self.tries_left == 0 {
            return Err(0x6983);
        }
        if command.data.is_empty() {
            return if self.verified {
                Ok(Vec::new())
            } else {
                Err(0x63C0 | u16::from(self.tries_left))
            };
        }
        self.try_pin(command.data)
    }

    /// CHANGE REFERENCE DATA (clause 11.5.7): the old PIN, then the new one.
    fn change_pin(&mut self, command: &Command<'_>) -> Answer {
        if self.tries_left == 0 {
            return Err(0x6983);
        }
        let (old, new) = command
            .data
            .split_at_checked(self.pin.len())
            .filter(|(_, new)| !new.is_empty())
            .ok_or(0x6700_u16)?;
        self.try_pin(old)?;
        self.pin = new.to_vec();
        Ok(Vec::new())
    }

    fn try_pin(&mut self, pin: &[u8]) -> Answer {
        self.verified = pin == self.pin;
        if self.verified {
            self.tries_left = Self::PIN_TRIES;
            return Ok(Vec::new());
        }
        self.tries_left -= 1;
        Err(if self.tries_left == 0 {
            0x6983
        } else {
            0x63C0 | u16::from(self.tries_left)
        })
    }
}

/// File control information: identifier, kind, size (ISO 7816-4 clause 7.4.3).
fn fci(file: &File) -> Vec<u8> {
    let [high, low] = file.id().to_be_bytes();
    let (descriptor, size) = match file {
        File::Df { .. } => (0x38, None),
        File::Transparent { data, .. } => (0x01, Some(data.len())),
        File::Records { records, .. } => (0x04, Some(records.iter().map(Vec::len).sum())),
    };
    let mut body = Vec::from([0x82, 1, descriptor, 0x83, 2, high, low]);
    if let Some(size) = size {
        body.extend([0x80, 2]);
        body.extend((size as u16).to_be_bytes());
    }
    if let File::Df { name, .. } = file {
        if !name.is_empty() {
            body.extend([0x84, name.len() as u8]);
            body.extend_from_slice(name);
        }
    }
    let mut fci = Vec::from([0x6F, body.len() as u8]);
    fci.append(&mut body);
    fci
}

impl App for FileSystem {
    fn reset(&mut self) {
        self.verified = false;
        self.df = Path::new();
        self.ef = None;
    }

    fn process(&mut self, command: &Command<'_>, response: &mut Vec<u8>) {
        let answer = match command.header {
            [0x00, 0xA4, ..] => self.select(command),
            [0x00, 0xB0, ..] => self.read_binary(command),
            [0x00, 0xD6, ..] => self.update_binary(command),
            [0x00, 0xB2, ..] => self.read_record(command),
            [0x00, 0x20, 0x00, _] => self.verify(command),
            [0x00, 0x24, 0x00, _] => self.change_pin(command),
            [0x00, ..] => Err(0x6D00),
            _ => Err(0x6E00),
        };
        match answer {
            Ok(data) => {
                response.extend_from_slice(&data);
                status(response, 0x9000);
            }
            Err(sw) => status(response, sw),
        }
    }
}
