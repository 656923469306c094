//! Walking over a map that others may change at the same time.
//!
//! Both engines know only "the key after this one", and answer with the first key of all if that one has vanished. Hence a
//! naive walk may repeat keys, or never end. Ours asks for the following key before it hands out the present one, so that
//! removing what was just handed out is harmless, and remembers what it handed out, so that no key comes twice.

use std::collections::HashSet;

use twinbpf_object::Result;

use crate::map_error;
use crate::raw_map::RawMap;

/// The entries of a map, in the order of the engine.
///
/// The policy when the map changes during the walk: no key comes twice; a key that stays in the map all the time comes exactly
/// once; keys that come or go meanwhile may or may not be among them; a value is as it was when its entry was
/// handed out. If keys vanish so fast that the walk cannot get on, it ends with an error instead of running for ever.
#[derive(Debug)]
pub struct RawEntries<'a> {
    map: &'a RawMap,
    /// The key to hand out next.
    upcoming: Upcoming,
    /// Keys handed out. Empty for indexed kinds, whose keys never vanish and come in order.
    seen: HashSet<Vec<u8>>,
    /// Keys the walk may still meet again before it gives up.
    patience: u64,
}

#[derive(Debug)]
enum Upcoming {
    First,
    Key(Vec<u8>),
    End,
}

/// A restart from the first key meets every key again; so many full restarts are tolerated.
const RESTARTS: u64 = 64;

impl RawMap {
    /// The entries, one after the other. What happens when somebody else changes the map meanwhile: see [`RawEntries`].
    pub fn entries(&self) -> RawEntries<'_> {
        RawEntries {
            map: self,
            upcoming: Upcoming::First,
            seen: HashSet::new(),
            patience: (u64::from(self.spec().max_entries) + 1).saturating_mul(RESTARTS),
        }
    }
}

impl RawEntries<'_> {
    /// The next key that was not handed out before.
    fn next_key(&mut self) -> Result<Option<Vec<u8>>> {
        let key = match std::mem::replace(&mut self.upcoming, Upcoming::End) {
            Upcoming::End => return Ok(None),
            Upcoming::First => match self.key_after(None)? {
                Some(key) => key,
                None => return Ok(None),
            },
            Upcoming::Key(key) => key,
        };
        if !map_error::is_indexed(self.map.spec().kind) {
            self.seen.insert(key.clone());
        }
        self.look_ahead(&key)?;
        Ok(Some(key))
    }

    /// Finds the next unseen key after `key`.
    fn look_ahead(&mut self, key: &[u8]) -> Result<()> {
        let mut cursor = key.to_vec();
        while let Some(next) = self.key_after(Some(&cursor))? {
            if !self.seen.contains(&next) {
                self.upcoming = Upcoming::Key(next);
                return Ok(());
            }
            self.patience = self
                .patience
                .checked_sub(1)
                .ok_or_else(|| map_error::restless(self.map.spec()))?;
            cursor = next;
        }
        Ok(())
    }

    fn key_after(&self, key: Option<&[u8]>) -> Result<Option<Vec<u8>>> {
        let mut next = vec![0; self.map.key_len()];
        Ok(self.map.next_key(key, &mut next)?.then_some(next))
    }
}

impl Iterator for RawEntries<'_> {
    type Item = Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let key = match self.next_key() {
                Ok(key) => key?,
                Err(error) => return Some(Err(error)),
            };
            match self.map.get(&key) {
                Ok(Some(value)) => return Some(Ok((key, value))),
                // The entry vanished between the two questions.
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
