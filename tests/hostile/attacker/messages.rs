//! Control messages as bytes, from the specification: `length u32 · kind u8 · body`, with bincode's variable integers.

use anyhow::{Context, Result, bail};

/// Kinds of messages.
pub(crate) mod kind {
    pub(crate) const HELLO: u8 = 1;
    pub(crate) const WELCOME: u8 = 2;
    pub(crate) const CLOSE: u8 = 6;
    pub(crate) const OPEN_LANE: u8 = 16;
    pub(crate) const LANE_OPEN: u8 = 17;
    pub(crate) const TOPIC: u8 = 32;
    pub(crate) const OFFER: u8 = 33;
    pub(crate) const PARTITION_OPEN: u8 = 34;
    pub(crate) const PARTITION_HALTED: u8 = 35;
}

/// Message that is built field by field, in the specification's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn new(kind: u8) -> Self {
        Self { kind, body: Vec::new() }
    }

    /// Adds an unsigned integer, a boolean, an enumeration, the length of a list, or an option's 0 or 1.
    pub(crate) fn u(mut self, value: u128) -> Self {
        match value {
            0..251 => self.body.push(value as u8),
            251..0x1_0000 => self.put(0xfb, &(value as u16).to_le_bytes()),
            0x1_0000..0x1_0000_0000 => self.put(0xfc, &(value as u32).to_le_bytes()),
            0x1_0000_0000..0x1_0000_0000_0000_0000 => self.put(0xfd, &(value as u64).to_le_bytes()),
            _ => self.put(0xfe, &value.to_le_bytes()),
        }
        self
    }

    /// Adds a signed integer, in zigzag code.
    pub(crate) fn i(self, value: i64) -> Self {
        self.u(u128::from(((value << 1) ^ (value >> 63)) as u64))
    }

    pub(crate) fn text(self, text: &str) -> Self {
        self.u(text.len() as u128).raw(text.as_bytes())
    }

    /// Adds bytes without a length, such as a topic id.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.body.extend(bytes);
        self
    }

    fn put(&mut self, mark: u8, bytes: &[u8]) {
        self.body.push(mark);
        self.body.extend(bytes);
    }

    /// Returns the message as it travels.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = (self.body.len() as u32 + 1).to_le_bytes().to_vec();
        bytes.push(self.kind);
        bytes.extend(&self.body);
        bytes
    }

    /// Reads a message whose length was read already.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Result<Self> {
        let (&kind, body) = bytes.split_first().context("an empty message")?;
        Ok(Self { kind, body: body.to_vec() })
    }
}

/// Reader of a message's fields.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl Fields<'_> {
    /// Reads an unsigned integer of any width.
    pub(crate) fn u(&mut self) -> Result<u128> {
        let mark = self.take(1)?[0];
        let width = match mark {
            0..251 => return Ok(u128::from(mark)),
            251 => 2,
            252 => 4,
            253 => 8,
            254 => 16,
            255 => bail!("an integer begins with 255"),
        };
        let mut bytes = [0; 16];
        bytes[..width].copy_from_slice(self.take(width)?);
        Ok(u128::from_le_bytes(bytes))
    }

    pub(crate) fn text(&mut self) -> Result<String> {
        let length = usize::try_from(self.u()?)?;
        Ok(String::from_utf8(self.take(length)?.to_vec())?)
    }

    fn take(&mut self, count: usize) -> Result<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(count).context("a message ends early")?;
        self.0 = rest;
        Ok(taken)
    }
}

/// Fields of a hello, valid unless changed.
#[derive(Debug, Clone)]
pub(crate) struct Hello {
    /// 0 is a sender, 1 a receiver.
    pub(crate) role: u8,
    pub(crate) versions: [u16; 2],
    pub(crate) features: u64,
    pub(crate) link: String,
    pub(crate) cluster_id: String,
    pub(crate) instance: String,
    pub(crate) process: u128,
    pub(crate) stand_by: bool,
    pub(crate) lanes: u16,
    pub(crate) lane_hash: String,
    pub(crate) filter_hash: u64,
    /// Name, lanes and strictness of each class.
    pub(crate) classes: Vec<(String, u16, bool)>,
}

impl Hello {
    pub(crate) fn new(link: &str, cluster_id: &str) -> Self {
        Self {
            role: 0,
            versions: [1, 1],
            // lz4, zstd, channels.
            features: 0b100_0011,
            link: link.to_owned(),
            cluster_id: cluster_id.to_owned(),
            instance: "attacker".to_owned(),
            process: 7,
            stand_by: false,
            lanes: 1,
            lane_hash: "xxh3-64".to_owned(),
            filter_hash: 1,
            classes: Vec::new(),
        }
    }

    pub(crate) fn message(&self) -> Message {
        let [oldest, newest] = self.versions;
        let message = Message::new(kind::HELLO).u(self.role.into()).u(oldest.into()).u(newest.into());
        let message = message.u(self.features.into()).text(&self.link).text(&self.cluster_id).text(&self.instance);
        let message = message.u(self.process).u(self.stand_by.into()).u(self.lanes.into()).text(&self.lane_hash);
        // No limit on the rate.
        let message = message.u(self.filter_hash.into()).u(0).u(self.classes.len() as u128);
        self.classes.iter().fold(message, |message, (name, lanes, strict)| {
            message.text(name).u((*lanes).into()).u(u128::from(*strict))
        })
    }
}
