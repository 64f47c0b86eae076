//! The memory of the records: slots and blocks in chunks, taken as needed, reused, and never moved.

use smtp_fallback_policy::contract::Key;

use super::slot::{INLINE, INLINE_OF_LONG, LISTED, Link, Number, Rest, Slot, class};

/// Entries of a chunk: enough that the list of chunks stays short, few enough that taking one is no pause.
const CHUNK: usize = 4096;

/// Octets of a value in one block.
const BLOCK_OCTETS: usize = 28;

/// Slots that share a time of expiry.
const GROUP: usize = 32;

/// A part of a long value.
#[derive(Clone, Copy, Default)]
struct Block {
    octets: [u8; BLOCK_OCTETS],
    /// The next part, or the next free block; 0: none.
    next: u32,
}

/// Numbered entries from 1 on. Number 0 is never given out; it leads nowhere.
struct Chunks<T> {
    chunks: Vec<Box<[T]>>,
    /// How many numbers were given out, 0 included.
    used: usize,
}

impl<T: Clone + Default> Chunks<T> {
    fn new() -> Self {
        Chunks { chunks: Vec::new(), used: 1 }
    }

    fn at(&self, number: u32) -> &T {
        &self.chunks[number as usize / CHUNK][number as usize % CHUNK]
    }

    fn get(&self, number: u32) -> Option<&T> {
        self.chunks.get(number as usize / CHUNK)?.get(number as usize % CHUNK)
    }

    fn at_mut(&mut self, number: u32) -> &mut T {
        &mut self.chunks[number as usize / CHUNK][number as usize % CHUNK]
    }

    fn next_number(&mut self) -> u32 {
        if self.chunks.is_empty() || self.used == self.chunks.len() * CHUNK {
            self.chunks.push(vec![T::default(); CHUNK].into_boxed_slice());
        }
        self.used += 1;
        (self.used - 1) as u32
    }
}

/// All slots, with their values.
pub(super) struct Slots {
    slots: Chunks<Slot>,
    /// Under the same numbers.
    rests: Chunks<Rest>,
    blocks: Chunks<Block>,
    free_slot: Number,
    free_block: u32,
    occupied: usize,
    /// For each group of slots a time before which none of their records expires, so that the hand need not look at them.
    earliest: Vec<u32>,
    /// Counts writes, and begins anew at 2^32.
    writes: u32,
}

impl Slots {
    /// For so many records at most.
    pub(super) fn new(capacity: usize) -> Self {
        Slots {
            slots: Chunks::new(),
            rests: Chunks::new(),
            blocks: Chunks::new(),
            free_slot: 0,
            free_block: 0,
            occupied: 0,
            earliest: Vec::with_capacity(capacity / GROUP + 1),
            // It soon begins anew, so that tests see that.
            writes: u32::MAX - 4000,
        }
    }

    /// How many slots hold a record.
    pub(super) fn occupied(&self) -> usize {
        self.occupied
    }

    /// One more than the highest number that was ever given out.
    pub(super) fn end(&self) -> Number {
        self.slots.used as Number
    }

    pub(super) fn at(&self, number: Number) -> &Slot {
        self.slots.at(number)
    }

    pub(super) fn at_mut(&mut self, number: Number) -> &mut Slot {
        self.slots.at_mut(number)
    }

    /// What a look-up that has come to this slot needs next: of another record the next in the chain, of the right one the first block of
    /// its value. Neither is 0, and for 0 this reads number 0, which leads nowhere: that costs less than a guess of the processor's that
    /// turns out wrong.
    pub(super) fn after(&self, number: Number, key: &Key) -> (Number, u32) {
        let Some(slot) = self.slots.get(number) else { return (0, 0) };
        let right = slot.is(key);
        (if right { 0 } else { slot.chain }, if right && slot.length() > INLINE { block_of(slot) } else { 0 })
    }

    /// Makes the processor fetch a slot.
    pub(super) fn touch(&self, number: Number) -> u32 {
        self.slots.get(number).map_or(0, |slot| slot.chain)
    }

    /// Makes the processor fetch the rest of a slot.
    pub(super) fn touch_rest(&self, number: Number) -> u32 {
        self.rests.get(number).map_or(0, |rest| rest.weight)
    }

    /// Makes the processor fetch the places that the next new records take.
    pub(super) fn touch_free(&self) -> u32 {
        let slot = if self.free_slot == 0 { self.slots.used as u32 } else { self.free_slot };
        let block = if self.free_block == 0 { self.blocks.used as u32 } else { self.free_block };
        [0, 1]
            .iter()
            .fold(0, |touched, n| touched ^ self.touch(slot + n) ^ self.touch_rest(slot + n) ^ self.touch_block(block + 2 * n))
    }

    /// Makes the processor fetch a block.
    pub(super) fn touch_block(&self, number: u32) -> u32 {
        self.blocks.get(number).map_or(0, |block| block.next)
    }

    pub(super) fn weight(&self, number: Number) -> u32 {
        self.rests.at(number).weight
    }

    /// Sets the weight and its class.
    pub(super) fn set_weight(&mut self, number: Number, weight: u32) {
        self.rests.at_mut(number).weight = weight;
        self.slots.at_mut(number).set_class(class(weight));
    }

    pub(super) fn set_expiry(&mut self, number: Number, expires_at: u32) {
        self.slots.at_mut(number).expires_at = expires_at;
        let earliest = &mut self.earliest[number as usize / GROUP];
        *earliest = expires_at.min(*earliest);
    }

    /// Whether there is a record here that has expired. To be asked of all slots in turn.
    pub(super) fn has_expired(&mut self, number: Number, now: u32) -> bool {
        let group = number as usize / GROUP;
        if now < self.earliest[group] {
            return false;
        }
        if number as usize % GROUP == GROUP - 1 {
            // The whole group has been looked at, and what had expired is gone, but for this one.
            let numbers = number - (GROUP as u32 - 1)..=number;
            let records = numbers.map(|number| self.at(number)).filter(|slot| slot.is_occupied());
            self.earliest[group] = records.map(|slot| slot.expires_at).min().unwrap_or(u32::MAX);
        }
        let slot = self.at(number);
        slot.is_occupied() && slot.expires_at <= now
    }

    /// Notes that a record was written just now.
    pub(super) fn note_age(&mut self, number: Number) {
        self.writes = self.writes.wrapping_add(1);
        self.slots.at_mut(number).written = self.writes;
    }

    /// How many writes ago a record was written. Counted round 2^32: after so many writes that miss it, a record counts as young again.
    pub(super) fn age(&self, slot: &Slot) -> u32 {
        self.writes.wrapping_sub(slot.written)
    }

    pub(super) fn links(&self, list: usize, number: Number) -> Link {
        self.rests.at(number).links[list]
    }

    pub(super) fn links_mut(&mut self, list: usize, number: Number) -> &mut Link {
        &mut self.rests.at_mut(number).links[list]
    }

    /// Puts a slot without a value in a free place: the one that became free last, else a new one.
    pub(super) fn take(&mut self, slot: Slot) -> Number {
        let mut number = self.free_slot;
        if number == 0 {
            number = self.slots.next_number();
            self.rests.next_number();
            if self.earliest.len() <= number as usize / GROUP {
                self.earliest.push(u32::MAX);
            }
        } else {
            self.free_slot = self.at(number).chain;
        }
        let place = self.slots.at_mut(number);
        let listed = place.has(LISTED);
        *place = slot;
        if listed {
            place.set(LISTED);
        }
        self.occupied += 1;
        number
    }

    /// Gives the place back. Its flag of the list of changes stays.
    pub(super) fn give_back(&mut self, number: Number) {
        self.set_value(number, &[]);
        let free = self.free_slot;
        self.slots.at_mut(number).free(free);
        self.free_slot = number;
        self.occupied -= 1;
    }

    /// Takes an entry out of a list: its neighbours become each other's. Gives them back, since whoever holds the list's ends has to
    /// look whether they changed.
    pub(super) fn unlink(&mut self, list: usize, number: Number) -> Link {
        let link = std::mem::take(self.links_mut(list, number));
        if link.previous != 0 {
            self.links_mut(list, link.previous).next = link.next;
        }
        if link.next != 0 {
            self.links_mut(list, link.next).previous = link.previous;
        }
        link
    }

    /// The value, in its parts.
    pub(super) fn parts(&self, number: Number) -> impl Iterator<Item = &[u8]> {
        let slot = self.at(number);
        let length = slot.length();
        let (inline, mut block) = if length <= INLINE { (length, 0) } else { (INLINE_OF_LONG, block_of(slot)) };
        let mut left = length - inline;
        let rest = std::iter::from_fn(move || {
            let part = (block != 0 && left > 0).then(|| self.blocks.at(block))?;
            let octets = left.min(BLOCK_OCTETS);
            left -= octets;
            block = part.next;
            Some(&part.octets[..octets])
        });
        std::iter::once(&slot.value[..inline]).chain(rest)
    }

    pub(super) fn value(&self, number: Number) -> Vec<u8> {
        let mut value = Vec::with_capacity(self.at(number).length());
        self.parts(number).for_each(|part| value.extend_from_slice(part));
        value
    }

    pub(super) fn value_is(&self, number: Number, expected: &[u8]) -> bool {
        let mut rest = expected;
        self.at(number).length() == expected.len()
            && self.parts(number).all(|part| {
                let same = rest.starts_with(part);
                rest = rest.get(part.len()..).unwrap_or_default();
                same
            })
    }

    /// Replaces the value; it has at most [`crate::MAX_VALUE_OCTETS`].
    pub(super) fn set_value(&mut self, number: Number, value: &[u8]) {
        let slot = self.slots.at(number);
        if slot.length() > INLINE {
            let first = block_of(slot);
            self.free_blocks(first);
        }
        let (inline, rest) = if value.len() <= INLINE { (value, &[][..]) } else { value.split_at(INLINE_OF_LONG) };
        let mut next = 0;
        // From the end, since each block names the next.
        for part in rest.chunks(BLOCK_OCTETS).rev() {
            let mut block = Block { octets: [0; BLOCK_OCTETS], next };
            block.octets[..part.len()].copy_from_slice(part);
            next = self.take_block(block);
        }
        let slot = self.slots.at_mut(number);
        slot.set_length(value.len());
        slot.value[..inline.len()].copy_from_slice(inline);
        if !rest.is_empty() {
            slot.value[INLINE_OF_LONG..].copy_from_slice(&next.to_le_bytes());
        }
    }

    fn take_block(&mut self, block: Block) -> u32 {
        let mut number = self.free_block;
        if number == 0 {
            number = self.blocks.next_number();
        } else {
            self.free_block = self.blocks.at(number).next;
        }
        *self.blocks.at_mut(number) = block;
        number
    }

    fn free_blocks(&mut self, first: u32) {
        let mut number = first;
        while number != 0 {
            let free = self.free_block;
            let next = std::mem::replace(&mut self.blocks.at_mut(number).next, free);
            self.free_block = number;
            number = next;
        }
    }
}

fn block_of(slot: &Slot) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&slot.value[INLINE_OF_LONG..]);
    u32::from_le_bytes(number)
}
