//! Memory that the host writes to, and the record of it.

/// So many at a time: one is enough for a host, and a host that forgets to give them back learns it soon.
const MOST: usize = 64;

/// The places that the host has.
pub(crate) struct Places(Vec<Vec<u8>>);

impl Places {
    pub(crate) const fn new() -> Self {
        Places(Vec::new())
    }

    /// A new place, with zeros in it; 0 where memory or number do not allow it.
    pub(crate) fn allocate(&mut self, octets: u32) -> u32 {
        let mut place: Vec<u8> = Vec::new();
        // One octet at least, so that each place has an address of its own.
        if self.0.len() >= MOST || place.try_reserve_exact(octets.max(1) as usize).is_err() {
            return 0;
        }
        place.resize(octets as usize, 0);
        // Exposed: from now on somebody else writes there, between two calls.
        let address = place.as_mut_ptr().expose_provenance();
        self.0.push(place);
        address as u32
    }

    /// Frees the place with this address and size, if there is one.
    pub(crate) fn free(&mut self, address: u32, octets: u32) {
        self.0.retain(|place| address_of(place) != address || place.len() != octets as usize);
    }

    /// The first octets of the place with this address.
    pub(crate) fn written(&self, address: u32, octets: u32) -> Result<&[u8], String> {
        let place = self.0.iter().find(|place| address_of(place) == address);
        let place =
            place.ok_or_else(|| format!("no place was allocated at address {address}, expected one that `allocate` gave"))?;
        place
            .get(..octets as usize)
            .ok_or_else(|| format!("{octets} octets were named, but the place at address {address} has {}", place.len()))
    }
}

fn address_of(place: &[u8]) -> u32 {
    place.as_ptr().addr() as u32
}
